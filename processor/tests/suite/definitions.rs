//! What is configured.
use processor::rollup::{Definition, Plan};
use std::time::Duration;

fn parse(toml: &str) -> Result<Definition, String> {
    toml::from_str(toml).map_err(|error| error.message().to_owned())
}

const SQL: &str = "sql = \"select count(*) as events from events\"";

#[test]
fn a_rollup_is_a_name_a_window_and_sql() {
    let rollup = parse(&format!("name = \"views\"\nwindow = \"1m\"\n{SQL}")).unwrap();
    assert_eq!((rollup.window, rollup.slide), (Duration::from_secs(60), None));
    assert_eq!(rollup.allowed_lateness, Duration::from_secs(60));
    let hopping = format!("name = \"views\"\nwindow = \"1h\"\nslide = \"5m\"\nallowed_lateness = \"2m 30s\"\n{SQL}");
    let rollup = parse(&hopping).unwrap();
    assert_eq!((rollup.slide, rollup.allowed_lateness), (Some(Duration::from_secs(300)), Duration::from_secs(150)));
    assert_eq!(parse(&toml::to_string(&rollup).unwrap()).unwrap(), rollup);
}

#[test]
fn a_length_that_is_none_and_a_key_that_is_not_known_are_named() {
    assert!(
        parse(&format!("name = \"views\"\nwindow = \"soon\"\n{SQL}"))
            .unwrap_err()
            .contains("\"soon\" is no length of time")
    );
    assert!(parse(&format!("name = \"views\"\nwindow = \"1m\"\nlate = 1\n{SQL}")).unwrap_err().contains("late"));
}

fn refused(name: &str, window: u64, slide: u64, lateness: u64) -> String {
    let rollup = Definition {
        name: name.to_owned(),
        window: Duration::from_secs(window),
        slide: Some(Duration::from_secs(slide)),
        allowed_lateness: Duration::from_secs(lateness),
        sql: "select count(*) as events from events".to_owned(),
    };
    rollup.windows().map_or_else(|refused| refused.to_string(), |_| String::new())
}

#[test]
fn names_and_lengths_that_no_rollup_can_have_are_refused_in_words() {
    assert_eq!(refused("views_1", 60, 60, 60), "");
    for name in ["", "Views", "1st", "a-b", "../x", &"x".repeat(64)] {
        assert!(refused(name, 60, 60, 60).contains("lower-case letters, digits and underscores"), "{name}");
    }
    assert!(refused("views", 7_200, 60, 60).contains("window is 2h: it must be from 1s to 1h"));
    assert!(refused("views", 60, 120, 60).contains("slide is 2m"));
    assert!(refused("views", 60, 7, 60).contains("slide does not divide window"));
    assert!(refused("views", 3_600, 30, 60).contains("slide does not divide window, or more than 60 times"));
    assert!(refused("views", 60, 60, 7_200).contains("allowed_lateness is 2h"));
}

#[tokio::test]
async fn the_rollups_that_everybody_has_can_be_planned() {
    for rollup in Definition::defaults() {
        let plan = Plan::new(&rollup).await.unwrap_or_else(|refused| panic!("{}: {refused}", rollup.name));
        assert!(plan.columns().count() <= 16, "{}: it reads {:?}", rollup.name, plan.columns().collect::<Vec<_>>());
    }
}
