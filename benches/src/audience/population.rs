//! All viewers together: a discrete-event simulation. Each viewer stands once in the calendar, with its next step.
use super::dice::exponential_ms;
use super::programme::Programme;
use super::session::{Happening, Session, State, Times};
use super::titles::Titles;
use super::viewer::Viewer;
use crate::ids::Ids;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// From the end of a session until the same viewer watches something else: mean of an exponential. Short, so that the
/// audience stays as large as was asked for.
const BETWEEN_SESSIONS_MS: f64 = 5_000.0;

/// Everyone, in audience time.
#[derive(Debug)]
pub(crate) struct Population {
    viewers: Vec<(Viewer, Session)>,
    calendar: BinaryHeap<Reverse<(u64, u32)>>,
    session_ids: Ids,
    titles: Titles,
    times: Times,
    programme: Programme,
    ends_ms: u64,
    dice: SmallRng,
}

impl Population {
    /// `viewers` that come at kickoff, for `length_ms` of audience time.
    pub(crate) fn new(seed: u64, id_seed: u64, viewers: u32, length_ms: u64) -> Population {
        let mut dice = SmallRng::seed_from_u64(seed);
        let mut session_ids = Ids::new(id_seed, 1);
        let (titles, times, programme) = (Titles::new(), Times::new(), Programme::new(length_ms));
        let viewers: Vec<_> = (0..viewers)
            .map(|number| {
                let viewer = Viewer::draw(number, &mut dice);
                let at = dice.random_range(0..programme.kickoff_ms);
                let title = titles.draw(&mut dice);
                (viewer, Session::new(session_ids.next(), title, at, viewer.heartbeat_ms, &times, &mut dice))
            })
            .collect();
        let calendar = viewers.iter().map(|(viewer, session)| Reverse((session.next_at(), viewer.number))).collect();
        Population { viewers, calendar, session_ids, titles, times, programme, ends_ms: length_ms, dice }
    }

    /// The next thing that is said: when, by which viewer. None when the time is over.
    pub(crate) fn next(&mut self) -> Option<(u64, u32, Happening)> {
        loop {
            let Reverse((now, number)) = self.calendar.pop()?;
            if now >= self.ends_ms {
                return None; // The calendar is in order: nobody says anything before the end.
            }
            let session = &mut self.viewers[number as usize].1;
            // An ended session is kept until the viewer's next step: what it said last must be rendered from it.
            if session.state == State::Over {
                self.begin_another(now, number);
                continue;
            }
            let said = session.step(now, &self.programme, &self.times, &mut self.dice);
            let next_at = match session.state {
                State::Over => now + 1 + exponential_ms(&mut self.dice, BETWEEN_SESSIONS_MS),
                _ => session.next_at(),
            };
            self.calendar.push(Reverse((next_at, number)));
            if let Some(happening) = said {
                return Some((now, number, happening));
            }
        }
    }

    /// A viewer and what it watches, as of its last step.
    pub(crate) fn viewer(&self, number: u32) -> (Viewer, &Session) {
        let (viewer, session) = &self.viewers[number as usize];
        (*viewer, session)
    }

    fn begin_another(&mut self, now: u64, number: u32) {
        let title = self.titles.draw(&mut self.dice);
        let id = self.session_ids.next();
        let (viewer, session) = &mut self.viewers[number as usize];
        *session = Session::new(id, title, now, viewer.heartbeat_ms, &self.times, &mut self.dice);
        self.calendar.push(Reverse((now, number)));
    }
}
