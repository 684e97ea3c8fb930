//! A rollup that is folded batch by batch, against the same SQL over all events at once.
use crate::events::{START_US, batch};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch};
use arrow_cast::pretty::pretty_format_batches;
use arrow_schema::{DataType, Field, Schema};
use datafusion::datasource::MemTable;
use datafusion::logical_expr::AggregateUDF;
use datafusion::prelude::SessionContext;
use processor::fold::{Bounds, Fold, WindowRows};
use processor::functions;
use processor::rollup::{Definition, Events, Merge, Plan, state_of};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const MANY: Bounds = Bounds { groups_max: 100_000, windows_max: 1_000 };
const WINDOW_US: i64 = 60_000_000;

fn definition(sql: &str, slide_s: u64) -> Definition {
    Definition {
        name: "tried".to_owned(),
        window: Duration::from_secs(60),
        slide: Some(Duration::from_secs(slide_s)),
        allowed_lateness: Duration::ZERO,
        sql: sql.to_owned(),
    }
}

async fn fold_of(sql: &str, slide_s: u64, bounds: Bounds) -> (Arc<Plan>, Fold) {
    let plan = Plan::new(&definition(sql, slide_s)).await.unwrap_or_else(|refused| panic!("{sql}: {refused}"));
    let plan = Arc::new(plan);
    (plan.clone(), Fold::new(plan, bounds))
}

/// Events of the minutes before the start, in no order.
pub fn events(seed: u64, count: usize, minutes: i64) -> Vec<Value> {
    let mut random = StdRng::seed_from_u64(seed);
    let pick = |random: &mut StdRng, of: &[&str]| of[random.random_range(0..of.len())].to_owned();
    let types = ["heartbeat", "heartbeat", "play", "error", "rebuffer_start", "rebuffer_end", "ad_start", "ad_end"];
    (0..count)
        .map(|_| {
            let mut event = json!({
                "event_type": pick(&mut random, &types),
                "event_time": START_US / 1_000 - random.random_range(0..minutes * 60_000),
                "session_id": format!("s{}", random.random_range(0..300)),
                "content_id": format!("title {}", random.random_range(0..20)),
                "device_type": pick(&mut random, &["tv", "mobile", "web"]),
                "bitrate_kbps": random.random_range(200..20_000),
                "seq": random.random_range(0..9),
                "width": random.random_range(1..2_000),
                "muted": random.random_bool(0.9),
                "custom_key": random.random_range(0..3).to_string(),
            });
            let mut maybe = |key: &str, value: Value| {
                if random.random_bool(0.5) {
                    event[key] = value;
                }
            };
            maybe("viewer_id", json!("v"));
            maybe("cdn", json!("fastly"));
            maybe("startup_ms", json!(1_234));
            maybe("rebuffer_ms", json!(77));
            maybe("error_code", json!("E1"));
            maybe("error_fatal", json!(true));
            event
        })
        .collect()
}

/// The same SQL over the events of one window, all at once, by DataFusion alone.
async fn at_once(sql: &str, events: &RecordBatch, start_us: i64) -> RecordBatch {
    let context = SessionContext::new();
    functions::all().into_iter().for_each(|function: AggregateUDF| context.register_udaf(function));
    let schema = events.schema();
    let plain = |field: &Arc<Field>| match field.data_type() {
        DataType::Dictionary(_, values) => Field::new(field.name(), values.as_ref().clone(), field.is_nullable()),
        other => Field::new(field.name(), other.clone(), field.is_nullable()),
    };
    let schema = Arc::new(Schema::new(schema.fields().iter().map(plain).collect::<Vec<_>>()));
    let columns = events.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| arrow_cast::cast(column, field.data_type()).unwrap()).collect();
    let all = RecordBatch::try_new(schema.clone(), columns).unwrap();
    context.register_table("every_event", Arc::new(MemTable::try_new(schema, vec![vec![all]]).unwrap())).unwrap();
    let window = format!(
        "create view events as select * from every_event where arrow_cast(event_time, 'Int64') >= {start_us} \
         and arrow_cast(event_time, 'Int64') < {}",
        start_us + WINDOW_US
    );
    context.sql(&window).await.unwrap().collect().await.unwrap();
    let frame = context.sql(sql).await.unwrap();
    let schema = Arc::new(frame.schema().as_arrow().clone());
    let batches = frame.collect().await.unwrap();
    arrow_select::concat::concat_batches(&schema, &batches).unwrap()
}

/// Rows as lines, sorted: whatever types of strings, in whatever order.
fn lines(batch: &RecordBatch) -> Vec<String> {
    let text = pretty_format_batches(std::slice::from_ref(batch)).unwrap().to_string();
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| line.starts_with('|'))
        .collect();
    lines[1..].sort();
    lines
}

/// Each state says what the column beside it says.
async fn assert_states(plan: &Plan, rows: &RecordBatch) {
    let context = SessionContext::new();
    functions::merging().into_iter().for_each(|function: AggregateUDF| context.register_udaf(function));
    context.register_batch("rows", rows.clone()).unwrap();
    for (column, merge) in plan.merges().unwrap_or_default() {
        let again = match merge {
            Merge::Distinct => format!("approx_distinct_merge({})", state_of(column)),
            Merge::Percentile(share) => format!("approx_percentile_merge({}, {share})", state_of(column)),
            _ => continue,
        };
        let sql = format!(
            "select told from (select max({column}) as told, {again} as again from \
             (select *, row_number() over () as row from rows) group by row) where told is distinct from again"
        );
        let wrong = context.sql(&sql).await.unwrap().count().await.unwrap();
        assert_eq!(wrong, 0, "{column}");
    }
}

/// Folds the events in batches of some rows, and compares each window.
async fn assert_equal(sql: &str, slide_s: u64, all: &[Value], rows_of_batch: usize) {
    let whole = batch(all);
    let (plan, mut fold) = fold_of(sql, slide_s, MANY).await;
    for (number, some) in all.chunks(rows_of_batch).enumerate() {
        fold.fold(&plan.evaluate(&Events::new(vec![batch(some)]).unwrap()).unwrap(), |_, _| true).unwrap();
        // Who looks changes nothing.
        if number % 3 == 0 {
            fold.look().unwrap();
        }
    }
    let looked: Vec<Vec<String>> = fold.look().unwrap().iter().map(|window| lines(&window.rows)).collect();
    let closed = fold.close(i64::MAX).unwrap();
    for window in &closed {
        assert_states(&plan, &window.rows).await;
    }
    let closed: Vec<WindowRows> = closed.into_iter().map(|window| window.without_states(&plan)).collect();
    assert_eq!(closed.iter().map(|window| lines(&window.rows)).collect::<Vec<_>>(), looked);
    assert!(closed.len() > 2, "{sql}: {} windows prove little", closed.len());
    for WindowRows { start_us, end_us, rows, .. } in &closed {
        assert_eq!((start_us.rem_euclid(slide_s as i64 * 1_000_000), end_us - start_us), (0, WINDOW_US));
        assert_eq!(lines(rows), lines(&at_once(sql, &whole, *start_us).await), "{sql}, window of {start_us}");
    }
    assert_eq!((fold.windows(), fold.held()), (0, 0));
    let wanted: Vec<Vec<String>> = closed.iter().map(|window| lines(&window.rows)).collect();
    assert_eq!(merged(&plan, all, rows_of_batch), wanted, "{sql}, in parts");
}

/// What parts of the windows come to, each of some batches, when they are merged.
fn merged(plan: &Arc<Plan>, all: &[Value], rows_of_batch: usize) -> Vec<Vec<String>> {
    let mut parts: Vec<Fold> = (0..3).map(|_| Fold::new(plan.clone(), MANY)).collect();
    for (number, some) in all.chunks(rows_of_batch).enumerate() {
        let part = &mut parts[number % 3];
        part.fold(&plan.evaluate(&Events::new(vec![batch(some)]).unwrap()).unwrap(), |_, _| true).unwrap();
        // Who looks changes nothing.
        if number % 5 == 0 {
            part.look_at_partials().unwrap();
        }
    }
    let mut whole = Fold::new(plan.clone(), MANY);
    for part in &mut parts {
        part.close_partials(i64::MAX).unwrap().iter().for_each(|partial| whole.merge(partial).unwrap());
    }
    let windows = whole.close(i64::MAX).unwrap().into_iter().map(|window| window.without_states(plan));
    assert_eq!(parts.iter().map(Fold::held).sum::<usize>(), 0);
    windows.map(|window| lines(&window.rows)).collect()
}

#[tokio::test]
async fn each_window_of_the_rollups_that_everybody_has_is_what_the_sql_gives_at_once() {
    let all = events(1, 3_000, 5);
    for definition in Definition::defaults() {
        assert_equal(&definition.sql, 60, &all, 170).await;
    }
}

#[tokio::test]
async fn filters_expressions_and_having_are_what_the_sql_gives_at_once() {
    let all = events(2, 2_000, 4);
    for sql in [
        "select upper(device_type) as device, count(*) * 2 + 1 as n, sum(bitrate_kbps) / count(*) as mean, \
         max(event_time) as latest from events where bitrate_kbps > 1000 and content_id like 'title 1%' \
         group by upper(device_type) having count(*) > 3",
        "select count(*) as n, min(session_id) as first, avg(bitrate_kbps) as mean, round(stddev(bitrate_kbps), 6) as spread, \
         bool_or(error_fatal) as fatal, round(var_pop(seq), 9) as vp, round(var(seq), 9) as v, round(stddev_pop(seq), 9) as sp, bit_and(width) as ba, \
         bit_or(width) as bo, bit_xor(width) as bx, bool_and(muted) as m, sum(width) filter (where width > 1000) as wide, \
         max(cast(bitrate_kbps as decimal(20, 3))) as d, \
         max(cdn) filter (where device_type = 'tv') as tv from events",
        "select custom['custom_key'] as key, error_fatal, count(*) as n from events group by custom['custom_key'], error_fatal",
        "select e.cdn, n from (select cdn, count(*) as n from events where event_type <> 'play' group by cdn) e where n > 1",
        "select cast(bitrate_kbps / 1000 as varchar) as mbps, approx_distinct(session_id) as sessions, \
         approx_percentile(bitrate_kbps, 0.9) as p90, approx_distinct(bitrate_kbps) as rates from events group by 1",
        "select case when error_fatal then 'fatal' else coalesce(cdn, 'none') end as what, count(error_code) as n \
         from events group by 1",
    ] {
        assert_equal(sql, 60, &all, 99).await;
    }
}

#[tokio::test]
async fn a_window_that_hops_has_every_event_as_often_as_it_should() {
    let sql =
        "select device_type, count(*) as n, approx_distinct(session_id) as sessions from events group by device_type";
    assert_equal(sql, 20, &events(3, 1_500, 4), 64).await;
}

#[tokio::test]
async fn windows_close_at_the_watermark_and_no_sooner() {
    let (plan, mut fold) = fold_of("select count(*) as n from events", 60, MANY).await;
    fold.fold(&plan.evaluate(&Events::new(vec![batch(&events(4, 500, 3))]).unwrap()).unwrap(), |_, _| true).unwrap();
    let starts: Vec<i64> = fold.look().unwrap().iter().map(|window| window.start_us).collect();
    assert_eq!(fold.close(starts[0] + WINDOW_US - 1).unwrap().len(), 0);
    let closed = fold.close(starts[1] + WINDOW_US).unwrap();
    assert_eq!(closed.iter().map(|window| window.start_us).collect::<Vec<_>>(), starts[..2]);
    assert_eq!(fold.windows(), starts.len() - 2);
}

#[tokio::test]
async fn only_windows_that_are_open_take_events() {
    let (plan, mut fold) = fold_of("select count(*) as n from events", 60, MANY).await;
    let rows = plan.evaluate(&Events::new(vec![batch(&events(5, 500, 3))]).unwrap()).unwrap();
    let mut asked = Vec::new();
    fold.fold(&rows, |start, _| {
        asked.push(start);
        asked.len() == 2
    })
    .unwrap();
    assert_eq!(fold.look().unwrap().iter().map(|window| window.start_us).collect::<Vec<_>>(), asked[1..2]);
}

#[tokio::test]
async fn of_too_many_groups_the_smallest_are_put_together_and_nothing_is_lost() {
    let sql = "select session_id, error_fatal, count(*) as n, sum(bitrate_kbps) as kbps from events group by session_id, error_fatal";
    let (plan, mut fold) = fold_of(sql, 60, Bounds { groups_max: 40, ..Bounds::default() }).await;
    // One large session among many small ones.
    let mut all = events(6, 2_000, 1);
    all.iter_mut().step_by(4).for_each(|event| event["session_id"] = json!("large"));
    for some in all.chunks(50) {
        fold.fold(&plan.evaluate(&Events::new(vec![batch(some)]).unwrap()).unwrap(), |_, _| true).unwrap();
        assert!(fold.held() <= 40 + 50, "{} groups are held", fold.held());
    }
    let windows = fold.close(i64::MAX).unwrap();
    let text = |window: &WindowRows, row: usize| match window.rows.column(0).is_null(row) {
        true => String::new(),
        false => arrow_cast::display::array_value_to_string(window.rows.column(0), row).unwrap(),
    };
    let sum = |column: usize| -> i64 {
        windows.iter().flat_map(|window| window.rows.column(column).as_primitive::<Int64Type>().values().to_vec()).sum()
    };
    assert_eq!(sum(2), 2_000);
    assert_eq!(sum(3), all.iter().map(|event| event["bitrate_kbps"].as_i64().unwrap()).sum::<i64>());
    let names: Vec<String> =
        windows.iter().flat_map(|window| (0..window.rows.num_rows()).map(|row| text(window, row))).collect();
    assert!(names.contains(&"large".to_owned()) && names.contains(&"(other)".to_owned()), "{names:?}");
    assert!(windows.iter().map(|window| window.grouped_as_other).sum::<u64>() > 100);
    assert_eq!(windows.iter().map(|window| window.events).sum::<u64>(), 2_000);
}

/// Two of these 16 bytes have one hash of DataFusion's with any second key that is equal: the second of them is set aside
/// within a batch, and numbered after what comes behind it.
#[tokio::test]
async fn keys_that_are_chosen_so_that_their_hashes_collide_are_counted_as_any_other() {
    let keys = ["!\u{82}@\u{400}@!!\u{82}@\u{400}@!", "\u{348}\u{d4}\u{320c}v\u{348}\u{d4}\u{320c}v", "z"];
    let sql = "select content_id, device_type, count(*) as n, sum(bitrate_kbps) as kbps from events group by content_id, device_type";
    let all: Vec<Value> = (0..30)
        .map(|number| {
            json!({"event_type": "heartbeat", "event_time": START_US / 1_000 - 1_000 - number, "session_id": "s",
                   "content_id": keys[[0, 1, 2, 1, 0][number as usize % 5]], "device_type": "tv", "bitrate_kbps": number})
        })
        .collect();
    for rows_of_batch in [1, 3, 5, 30] {
        let (plan, mut fold) = fold_of(sql, 60, MANY).await;
        for some in all.chunks(rows_of_batch) {
            fold.fold(&plan.evaluate(&Events::new(vec![batch(some)]).unwrap()).unwrap(), |_, _| true).unwrap();
            fold.look().unwrap();
        }
        let closed = fold.close(i64::MAX).unwrap();
        assert_eq!(lines(&closed[0].rows), lines(&at_once(sql, &batch(&all), closed[0].start_us).await));
    }
}

#[tokio::test]
async fn of_too_many_groups_whose_keys_can_not_be_null_the_others_are_null_where_they_are_no_text() {
    let sql = "select session_id, received_at as t, error_code is not null as failed, count(*) as n from events \
               group by session_id, received_at, error_code is not null";
    let (plan, mut fold) = fold_of(sql, 60, Bounds { groups_max: 10, ..Bounds::default() }).await;
    fold.fold(&plan.evaluate(&Events::new(vec![batch(&events(7, 300, 1))]).unwrap()).unwrap(), |_, _| true).unwrap();
    let rows: Vec<String> = fold.close(i64::MAX).unwrap().iter().flat_map(|window| lines(&window.rows)).collect();
    assert!(rows.iter().any(|row| row.starts_with("| (other) | | | ")), "{rows:?}");
}
