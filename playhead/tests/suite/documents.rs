//! The documents say what the program does: names and defaults are compared, so that they can't drift apart.
use super::node;
use std::path::PathBuf;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn document(name: &str) -> String {
    std::fs::read_to_string(root().join("docs").join(name)).unwrap()
}

#[test]
fn the_configuration_page_shows_every_setting_with_its_default() {
    let temp = tempfile::tempdir().unwrap();
    let show = |arguments: &[&str]| {
        let output = node::output(node::program().args(arguments).args(["config", "show"]).current_dir(temp.path()));
        String::from_utf8(output.stdout).unwrap()
    };
    let page = document("configuration.md");
    let toml = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let file = temp.path().join("documented.toml");
    std::fs::write(&file, toml).unwrap();
    let defaults = show(&[]);
    assert!(defaults.contains("flush_rows"), "{defaults}");
    assert_eq!(show(&["--config", file.to_str().unwrap()]), defaults);
    for setting in defaults.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name) {
        assert!(toml.contains(&format!("\n{setting} = ")), "{setting} is not in docs/configuration.md");
    }
}

#[test]
fn the_event_page_names_every_column_and_every_event_type() {
    let page = document("events.md");
    for column in event::schema::COLUMNS {
        assert!(page.contains(&format!("| `{}` |", column.name)), "column {} is not in docs/events.md", column.name);
    }
    for (event_type, _) in event::decode::vocabulary::EVENT_TYPES {
        assert!(page.contains(&format!("| `{event_type}` |")), "type {event_type} is not in docs/events.md");
    }
}

#[test]
fn the_operations_page_names_every_metric_of_the_code() {
    let page = document("operations.md");
    let mut found = 0;
    for room in ["ingest", "log", "lake", "sink", "processor"] {
        let mut folders = vec![root().join(room).join("src")];
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                for name in text.split('"').filter(|part| part.starts_with(&format!("playhead_{room}_"))) {
                    found += 1;
                    assert!(page.contains(name), "{name} of {} is not in docs/operations.md", path.display());
                }
            }
        }
    }
    assert!(found > 20, "the search itself must work: {found}");
}
