//! SQL that no rollup can be kept of, and what is said.
use processor::rollup::{Definition, Plan};
use std::time::Duration;

async fn refused(sql: &str) -> String {
    let definition = Definition {
        name: "tried".to_owned(),
        window: Duration::from_secs(60),
        slide: None,
        allowed_lateness: Duration::ZERO,
        sql: sql.to_owned(),
    };
    match Plan::new(&definition).await {
        Ok(_) => "taken".to_owned(),
        Err(refused) => refused.to_string(),
    }
}

#[tokio::test]
async fn what_can_not_be_merged_is_refused_with_what_to_write_instead() {
    for (what, instead) in [
        ("count(distinct viewer_id)", "approx_distinct(...)"),
        ("median(startup_ms)", "approx_percentile(x, 0.5)"),
        ("approx_percentile_cont(startup_ms, 0.5)", "approx_percentile(x, p)"),
        ("array_agg(error_code)", "group by the column"),
        ("string_agg(error_code, ',')", "group by the column"),
        ("first_value(error_code)", "min or max"),
        ("sum(distinct rebuffer_ms)", "leave out distinct"),
        ("corr(width, height)", "use count, sum, min"),
        ("approx_percentile(startup_ms, 95)", "a number from 0 to 1"),
        ("approx_percentile(startup_ms, playback_rate)", "a number from 0 to 1"),
        ("max(error_fatal)", "bool_or"),
        ("count(cdn, country)", "aggregate one column"),
    ] {
        let said = refused(&format!("select cdn, {what} as x from events group by cdn")).await;
        assert!(said.contains(instead), "{what}: {said}");
    }
}

#[tokio::test]
async fn more_than_one_aggregate_over_events_is_refused_in_words() {
    for (sql, instead) in [
        ("select content_id as c from events", "count, sum or otherwise aggregate"),
        ("select max(n) as m from (select cdn, count(*) as n from events group by cdn)", "make two rollups"),
        (
            "select a.cdn, count(*) as n from events a join events b on a.session_id = b.session_id group by a.cdn",
            "join the rollup's rows",
        ),
        ("select cdn, count(*) as n from events group by cdn order by n desc", "sort and cut its rows when you read"),
        ("select cdn, count(*) as n from events group by cdn limit 10", "sort and cut its rows when you read"),
        (
            "select cdn, count(*) as n from events where cdn in (select cdn from events) group by cdn",
            "filter with an expression",
        ),
        ("select cdn, country, count(*) as n from events group by grouping sets (cdn, country)", "a rollup for each"),
        ("select cdn, count(*) as n from events group by cdn union all select 'x', 1", "make a rollup of each part"),
        ("select distinct cdn from events", "group by the columns"),
        ("select 1 as one", "select from events"),
        ("drop table events", "one select"),
        ("select count(*) as n from generate_series(1, 10)", "select from events alone"),
        ("select asn, count(*) as n from events group by asn", "cast one to varchar"),
    ] {
        let said = refused(sql).await;
        assert!(said.contains(instead), "{sql}: {said}");
    }
}

#[tokio::test]
async fn what_gives_another_value_each_time_is_refused() {
    for call in ["now()", "random()", "current_date()"] {
        let said = refused(&format!("select count(*) filter (where {call} is not null) as n from events")).await;
        assert!(said.contains("gives another value each time"), "{call}: {said}");
    }
}

#[tokio::test]
async fn columns_that_a_table_can_not_have_are_refused() {
    for (columns, what) in [
        ("count(*)", "give it a name"),
        ("count(*) as revision", "so is one that every rollup has"),
        ("max(custom['a']) as \"a b\"", "letters, digits and underscores"),
        ("make_array(count(*)) as list", "tables can't hold"),
        ("count(*) as \"Revision\"", "so is one that every rollup has"),
        ("count(*) as \"N\", sum(seq) as n", "two columns are named"),
        ("max(arrow_cast(event_time, 'Timestamp(Second, None)')) as t", "tables can't hold"),
    ] {
        let said = refused(&format!("select {columns} from events")).await;
        assert!(said.contains(what), "{columns}: {said}");
    }
}

#[tokio::test]
async fn wrong_sql_is_told_as_the_planner_tells_it() {
    assert!(refused("select cont_id, count(*) as n from events group by cont_id").await.contains("cont_id"));
    assert!(refused("selekt").await.contains("the SQL is wrong"));
    assert!(refused("select count(*) as n from views").await.contains("views"));
}
