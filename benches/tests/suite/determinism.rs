//! Same options, same bodies.
use crate::{at_rate, of_audience};
use benches::{Body, Format, Options};
use uuid::Uuid;

const NOWHERE: &str = "http://127.0.0.1:1";

fn planned(options: &Options) -> Vec<Body> {
    benches::bodies(options).unwrap().take(400).collect()
}

#[test]
fn the_same_seed_and_start_give_the_same_bodies() {
    for format in [Format::Ndjson, Format::Json] {
        for mut options in [at_rate(NOWHERE, 5_000.0, 20), of_audience(NOWHERE, 500, 20)] {
            options.target.format = format;
            let bodies = planned(&options);
            assert!(bodies.len() >= 200);
            assert_eq!(bodies, planned(&options));
        }
    }
}

#[test]
fn another_seed_gives_other_ids() {
    for options in [at_rate(NOWHERE, 5_000.0, 20), of_audience(NOWHERE, 500, 20)] {
        let other = Options { seed: options.seed + 1, ..options.clone() };
        let ids =
            |options| planned(options).into_iter().flat_map(|body| body.ids).collect::<std::collections::HashSet<_>>();
        assert!(ids(&options).is_disjoint(&ids(&other)));
    }
}

#[test]
fn another_run_gives_the_same_traffic_with_other_ids_so_that_it_is_no_copy_even_if_it_starts_at_the_same_moment() {
    for options in [at_rate(NOWHERE, 5_000.0, 20), of_audience(NOWHERE, 500, 20)] {
        let other = Options { run: Uuid::from_u128(options.run.as_u128() + 1), ..options.clone() };
        let (one, other) = (planned(&options), planned(&other));
        assert!(one.iter().zip(&other).all(|(one, other)| one.due == other.due && one.ids.len() == other.ids.len()));
        let ids =
            |bodies: Vec<Body>| bodies.into_iter().flat_map(|body| body.ids).collect::<std::collections::HashSet<_>>();
        assert!(ids(one).is_disjoint(&ids(other)));
    }
}
