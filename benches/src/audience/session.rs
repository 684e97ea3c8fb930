//! One viewer's playback of one title: a state machine in audience time, stepped from event to event.
//!
//! ```text
//!  Waiting ─play─▶ Starting ─playing─▶ Playing ◀─resume/seeked/rebuffer_end/ad_end─ Paused/Seeking/Rebuffering/InAd
//!                     │ error (fatal)     │ ─pause/seek/rebuffer_start/ad_start──▶
//!                     │ stop, or silence  │ ended | stop | silence | error (fatal)
//!                     ▼                   ▼
//!                    Over                Over              heartbeats: in every state from the first frame on
//! ```
use super::clocks::Clocks;
use super::dice::{LogNormalMs, chance, exponential_ms, power_law_ms, weighted};
use super::programme::{AdBreak, BREAK_SPREAD_MS, Programme};
use super::titles::Title;
use rand::Rng;
use rand::rngs::SmallRng;
use uuid::Uuid;

/// Sessions that fail before the first frame.
pub const START_FAILURES: f64 = 0.02;
/// Sessions that the viewer leaves before the first frame.
pub const EXITS_BEFORE_START: f64 = 0.05;
/// Sessions that rebuffer.
pub const REBUFFERING: f64 = 0.08;
/// Sessions that began and fail later.
const PLAYBACK_FAILURES: f64 = 0.005;
/// Leavers whose player does not get to say so: closed tabs, dead batteries.
const SILENT_LEAVERS: f64 = 0.3;
/// Renditions: bitrate, width, height.
pub(crate) const LADDER: [(i64, i64, i64); 5] =
    [(1200, 640, 360), (2400, 960, 540), (4200, 1280, 720), (6000, 1920, 1080), (8500, 1920, 1080)];
/// Mean time between a viewer's acts (pause, seek) and a player's changes of bitrate.
const INCIDENT_MEAN_MS: f64 = 180_000.0;
const NEVER: u64 = u64::MAX;

/// What a player says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happening {
    Play,
    Playing,
    Pause,
    Resume,
    Seek,
    Seeked,
    Heartbeat,
    RebufferStart,
    RebufferEnd,
    BitrateChange,
    Error { code: &'static str, fatal: bool },
    AdStart,
    AdEnd,
    Ended,
    Stop,
}

/// Where the session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Waiting,
    Starting,
    Playing,
    Paused,
    Seeking,
    Rebuffering,
    InAd,
    Over,
}

/// How it will end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    FailsToStart,
    ExitsBeforeStart,
    Completes,
    Leaves,
    Fails,
}

/// The model's times, made once.
#[derive(Debug)]
pub(crate) struct Times {
    startup: LogNormalMs,
    live_session: LogNormalMs,
    rebuffering: LogNormalMs,
    pause: LogNormalMs,
    seek: LogNormalMs,
}

impl Times {
    pub(crate) fn new() -> Times {
        Times {
            startup: LogNormalMs::new(1_200.0, 4_000.0),
            live_session: LogNormalMs::new(25.0 * 60_000.0, 120.0 * 60_000.0),
            rebuffering: LogNormalMs::new(2_000.0, 12_000.0),
            pause: LogNormalMs::new(45_000.0, 300_000.0),
            seek: LogNormalMs::new(400.0, 2_000.0),
        }
    }
}

/// A session; times in milliseconds of audience time.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) id: Uuid,
    pub(crate) title: Title,
    pub(crate) clocks: Clocks,
    pub(crate) state: State,
    /// Events said so far.
    pub(crate) seq: u32,
    /// Position, as of `advanced_at`; of the live programme the time watched.
    pub(crate) playhead_ms: i64,
    pub(crate) startup_ms: u64,
    pub(crate) rung: u8,
    pub(crate) buffer_ms: i64,
    /// Length of the last rebuffering.
    pub(crate) rebuffer_ms: u64,
    pub(crate) rebuffers: u32,
    pub(crate) rebuffer_ms_total: u64,
    pub(crate) dropped_frames: u32,
    pub(crate) ad_break: AdBreak,
    fate: Fate,
    heartbeat_ms: u32,
    watch_left_ms: i64,
    advanced_at: u64,
    state_until: u64,
    heartbeat_at: u64,
    incident_at: u64,
    rebuffer_at: u64,
    ad_at: u64,
}

impl Session {
    /// A session that begins at `at`.
    pub(crate) fn new(
        id: Uuid,
        title: Title,
        at: u64,
        heartbeat_ms: u32,
        times: &Times,
        dice: &mut SmallRng,
    ) -> Session {
        let (fate, watch_ms) = fate(title, times, dice);
        Session {
            id,
            title,
            clocks: Clocks::draw(dice),
            state: State::Waiting,
            seq: 0,
            playhead_ms: 0,
            startup_ms: 0,
            rung: dice.random_range(1..LADDER.len()) as u8,
            buffer_ms: 0,
            rebuffer_ms: 0,
            rebuffers: 0,
            rebuffer_ms_total: 0,
            dropped_frames: 0,
            ad_break: AdBreak { number: 0, starts_ms: NEVER, ends_ms: NEVER },
            fate,
            heartbeat_ms,
            watch_left_ms: watch_ms,
            advanced_at: at,
            state_until: at,
            heartbeat_at: NEVER,
            incident_at: NEVER,
            rebuffer_at: NEVER,
            ad_at: NEVER,
        }
    }

    /// When it steps next.
    pub(crate) fn next_at(&self) -> u64 {
        match self.state {
            State::Waiting | State::Starting => self.state_until,
            State::Playing => {
                self.leaves_at().min(self.heartbeat_at).min(self.incident_at).min(self.rebuffer_at).min(self.ad_at)
            }
            State::Paused | State::Seeking | State::Rebuffering | State::InAd => {
                self.state_until.min(self.heartbeat_at)
            }
            State::Over => NEVER,
        }
    }

    fn leaves_at(&self) -> u64 {
        self.advanced_at + self.watch_left_ms.max(0) as u64
    }

    /// Goes on to `now`, which is `next_at`. None: nothing is said (a leaver in silence).
    pub(crate) fn step(
        &mut self,
        now: u64,
        programme: &Programme,
        times: &Times,
        dice: &mut SmallRng,
    ) -> Option<Happening> {
        let said = match self.state {
            State::Waiting => Some(self.begin(now, times, dice)),
            State::Starting => self.start(now, programme, dice),
            State::Playing => self.play_on(now, times, dice),
            State::Paused | State::Seeking | State::Rebuffering | State::InAd if now < self.state_until => {
                self.beat(now, dice);
                Some(Happening::Heartbeat)
            }
            State::Paused => Some(self.go_on(now, Happening::Resume)),
            State::Seeking => Some(self.go_on(now, Happening::Seeked)),
            State::Rebuffering => {
                self.buffer_ms = 6_000;
                Some(self.go_on(now, Happening::RebufferEnd))
            }
            State::InAd => Some(self.go_on(now, Happening::AdEnd)),
            State::Over => None,
        };
        self.seq += u32::from(said.is_some());
        said
    }

    fn begin(&mut self, now: u64, times: &Times, dice: &mut SmallRng) -> Happening {
        self.state = State::Starting;
        self.startup_ms = times.startup.draw(dice).clamp(50, 60_000);
        self.state_until = now
            + match self.fate {
                Fate::FailsToStart => dice.random_range(1_000..10_000),
                Fate::ExitsBeforeStart => dice.random_range(1_000..8_000),
                Fate::Completes | Fate::Leaves | Fate::Fails => self.startup_ms,
            };
        Happening::Play
    }

    fn start(&mut self, now: u64, programme: &Programme, dice: &mut SmallRng) -> Option<Happening> {
        match self.fate {
            Fate::FailsToStart => return Some(self.fail("startup-manifest")),
            Fate::ExitsBeforeStart => return self.leave(dice),
            Fate::Completes | Fate::Leaves | Fate::Fails => {}
        }
        self.state = State::Playing;
        self.advanced_at = now;
        self.buffer_ms = 8_000;
        // The first one anywhere in the period: a crowd that came together must not beat together.
        self.heartbeat_at = now + dice.random_range(1..=u64::from(self.heartbeat_ms));
        self.incident_at = now + 1_000 + exponential_ms(dice, INCIDENT_MEAN_MS);
        if chance(dice, REBUFFERING) {
            self.rebuffer_at = now + 1 + (self.watch_left_ms as f64 * dice.random::<f64>() * 0.8) as u64;
        }
        if self.title == Title::Live {
            self.ad_break = programme.next_break(now);
            self.ad_at = self.ad_break.starts_ms + dice.random_range(0..BREAK_SPREAD_MS);
        }
        Some(Happening::Playing)
    }

    /// Playing: what comes first?
    fn play_on(&mut self, now: u64, times: &Times, dice: &mut SmallRng) -> Option<Happening> {
        let leaves = now >= self.leaves_at();
        self.advance(now);
        if leaves {
            return match self.fate {
                Fate::Completes => {
                    self.state = State::Over;
                    Some(Happening::Ended)
                }
                Fate::Fails => Some(self.fail("media-decode")),
                Fate::Leaves | Fate::FailsToStart | Fate::ExitsBeforeStart => self.leave(dice),
            };
        }
        if now >= self.ad_at {
            let until = self.ad_break.ends_ms + dice.random_range(0..BREAK_SPREAD_MS);
            self.ad_at = NEVER;
            return Some(self.enter(State::InAd, until.max(now + 1), Happening::AdStart));
        }
        if now >= self.rebuffer_at {
            return Some(self.rebuffer(now, times, dice));
        }
        if now >= self.heartbeat_at {
            self.beat(now, dice);
            return Some(Happening::Heartbeat);
        }
        Some(self.incident(now, times, dice))
    }

    fn rebuffer(&mut self, now: u64, times: &Times, dice: &mut SmallRng) -> Happening {
        // Trouble comes in series: four of ten have another one.
        self.rebuffer_at = if chance(dice, 0.4) { now + 5_000 + exponential_ms(dice, 60_000.0) } else { NEVER };
        self.rebuffer_ms = times.rebuffering.draw(dice).clamp(100, 120_000);
        self.rebuffers += 1;
        self.rebuffer_ms_total += self.rebuffer_ms;
        self.buffer_ms = 0;
        self.rung = self.rung.saturating_sub(1);
        self.enter(State::Rebuffering, now + self.rebuffer_ms, Happening::RebufferStart)
    }

    fn incident(&mut self, now: u64, times: &Times, dice: &mut SmallRng) -> Happening {
        self.incident_at = now + 1_000 + exponential_ms(dice, INCIDENT_MEAN_MS);
        let on_demand = u32::from(self.title != Title::Live);
        match weighted(dice, [60, 2, 12, 12 * on_demand].into_iter()) {
            0 => {
                let up = self.rung == 0 || (usize::from(self.rung) + 1 < LADDER.len() && chance(dice, 0.55));
                self.rung = if up { self.rung + 1 } else { self.rung - 1 };
                Happening::BitrateChange
            }
            1 => Happening::Error { code: "segment-timeout", fatal: false },
            2 => {
                let until = now + times.pause.draw(dice).clamp(500, 600_000);
                self.enter(State::Paused, until, Happening::Pause)
            }
            _ => {
                let duration_ms = self.title.duration_ms().unwrap_or(i64::MAX);
                let jump_ms = dice.random_range(-60_000..180_000i64);
                let playhead_ms = (self.playhead_ms + jump_ms).clamp(0, (duration_ms - 1_000).max(0));
                if self.fate == Fate::Completes {
                    self.watch_left_ms = duration_ms - playhead_ms;
                }
                self.playhead_ms = playhead_ms;
                let until = now + times.seek.draw(dice).clamp(50, 30_000);
                self.enter(State::Seeking, until, Happening::Seek)
            }
        }
    }

    /// Lets the media play up to `now`.
    fn advance(&mut self, now: u64) {
        let played_ms = (now - self.advanced_at) as i64;
        self.playhead_ms += played_ms;
        self.watch_left_ms -= played_ms;
        self.advanced_at = now;
    }

    fn beat(&mut self, now: u64, dice: &mut SmallRng) {
        let period = u64::from(self.heartbeat_ms);
        self.heartbeat_at = now + period * 95 / 100 + dice.random_range(0..=period / 10);
        if self.state == State::Playing {
            self.buffer_ms = dice.random_range(4_000..30_000);
            self.dropped_frames += u32::from(dice.random::<u8>() < 20) * 3;
        }
    }

    fn enter(&mut self, state: State, until: u64, said: Happening) -> Happening {
        self.state = state;
        self.state_until = until;
        said
    }

    fn go_on(&mut self, now: u64, said: Happening) -> Happening {
        self.state = State::Playing;
        self.advanced_at = now;
        // What came due meanwhile comes soon, not all at once. A break that was missed is missed.
        self.incident_at = self.incident_at.max(now + 1_000);
        if self.rebuffer_at != NEVER {
            self.rebuffer_at = self.rebuffer_at.max(now + 1_000);
        }
        if self.ad_at < now {
            self.ad_at = NEVER;
        }
        said
    }

    fn fail(&mut self, code: &'static str) -> Happening {
        self.state = State::Over;
        Happening::Error { code, fatal: true }
    }

    fn leave(&mut self, dice: &mut SmallRng) -> Option<Happening> {
        self.state = State::Over;
        (!chance(dice, SILENT_LEAVERS)).then_some(Happening::Stop)
    }
}

/// Of 100 sessions 2 fail to start, 5 are left before the start; of a title on demand 40 last Exp(2 min), 33 follow a
/// power law, 20 are watched to the end; of the live programme lengths are lognormal with a median of 25 min.
fn fate(title: Title, times: &Times, dice: &mut SmallRng) -> (Fate, i64) {
    let draw = dice.random::<f64>();
    if draw < START_FAILURES {
        return (Fate::FailsToStart, 0);
    }
    if draw < START_FAILURES + EXITS_BEFORE_START {
        return (Fate::ExitsBeforeStart, 0);
    }
    let leaves = if chance(dice, PLAYBACK_FAILURES) { Fate::Fails } else { Fate::Leaves };
    let Some(duration_ms) = title.duration_ms() else {
        return (leaves, times.live_session.draw(dice).max(1_000) as i64);
    };
    let watch_ms = match weighted(dice, [40, 33, 20].into_iter()) {
        0 => exponential_ms(dice, 120_000.0) as i64,
        1 => i64::try_from(power_law_ms(dice, 120_000.0, 1.1)).unwrap_or(i64::MAX),
        _ => i64::MAX,
    };
    if watch_ms >= duration_ms { (Fate::Completes, duration_ms) } else { (leaves, watch_ms.max(500)) }
}
