//! Events that an expression fails on.
use crate::events::{START_US, batch};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use processor::fold::{Bounds, Fold, WindowRows};
use processor::rollup::{Definition, Events, Plan, Refused};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

async fn plan(sql: &str) -> Result<Plan, Refused> {
    let (window, allowed_lateness) = (Duration::from_secs(60), Duration::ZERO);
    Plan::new(&Definition { name: "tried".to_owned(), window, slide: None, allowed_lateness, sql: sql.to_owned() })
        .await
}

/// One window of these values of `custom.n`, in batches of so many; how many values failed as they came.
async fn folded(sql: &str, values: &[&str], rows_of_batch: usize) -> (WindowRows, u64) {
    let plan = Arc::new(plan(sql).await.unwrap());
    let mut fold = Fold::new(plan.clone(), Bounds { groups_max: 100, ..Bounds::default() });
    let event = |value: &&str| -> Value {
        json!({"event_type": "heartbeat", "event_time": START_US / 1_000 - 1, "session_id": "s", "n": value})
    };
    let mut failed = 0;
    for some in values.chunks(rows_of_batch) {
        let events = some.iter().map(event).collect::<Vec<_>>();
        let evaluated = plan.evaluate(&Events::new(vec![batch(&events)]).unwrap()).unwrap();
        failed += evaluated.failed;
        fold.fold(&evaluated, |_, _| true).unwrap();
    }
    (fold.close(i64::MAX).unwrap().remove(0), failed)
}

fn numbers(window: &WindowRows, column: usize) -> Vec<Option<i64>> {
    window.rows.column(column).as_primitive::<Int64Type>().iter().collect()
}

const VALUES: [&str; 9] = ["1", "2", "x", "4", "5", "", "7", "8", "y"];

#[tokio::test]
async fn an_argument_that_fails_is_null_for_its_event_alone_whatever_the_batches() {
    let sql = "select sum(cast(custom['n'] as bigint)) as total, count(*) as events from events";
    for rows_of_batch in [1, 2, 4, 9] {
        let (window, failed) = folded(sql, &VALUES, rows_of_batch).await;
        assert_eq!((numbers(&window, 0), numbers(&window, 1), failed), (vec![Some(27)], vec![Some(9)], 3));
    }
}

#[tokio::test]
async fn a_filter_that_fails_takes_its_event_for_one_that_does_not_count() {
    let sql = "select count(*) as events from events where cast(custom['n'] as bigint) > 1";
    let (window, failed) = folded(sql, &VALUES, 4).await;
    assert_eq!((numbers(&window, 0), failed), (vec![Some(5)], 3));
    let sql = "select count(*) filter (where 10 / cast(custom['n'] as bigint) > 1) as events from events";
    let (window, failed) = folded(sql, &["0", "5", "x", "20"], 4).await;
    assert_eq!((numbers(&window, 0), failed), (vec![Some(1)], 2));
}

#[tokio::test]
async fn a_key_that_fails_is_null() {
    let sql = "select cast(custom['n'] as bigint) as n, max(session_id) as session, count(*) as events \
               from events group by cast(custom['n'] as bigint), event_type";
    let (window, failed) = folded(sql, &["3", "x", "y"], 9).await;
    let mut rows: Vec<_> = numbers(&window, 0).into_iter().zip(numbers(&window, 2)).collect();
    rows.sort();
    assert_eq!((rows, failed), (vec![(None, Some(2)), (Some(3), Some(1))], 2));
}

#[tokio::test]
async fn an_expression_over_aggregates_that_fails_is_null_for_its_group_alone() {
    let sql = "select custom['n'] as n, sum(1) * 10 / count(error_code) as per_error, count(*) as events \
               from events group by custom['n']";
    let (window, failed) = folded(sql, &["a", "b"], 9).await;
    assert_eq!((failed, window.failed), (0, 2));
    assert_eq!((numbers(&window, 1), numbers(&window, 2)), (vec![None, None], vec![Some(1), Some(1)]));
}
