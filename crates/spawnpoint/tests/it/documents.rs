//! The documents name what is there.

use std::path::Path;

use crate::workspace::{files, root, short};

/// The targets of a Markdown document's links.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}

#[test]
fn links_between_documents_lead_somewhere() {
    for path in files(".md") {
        let text = std::fs::read_to_string(&path).unwrap();
        for link in links(&text) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            assert!(
                path.parent().unwrap_or(Path::new("")).join(target).exists(),
                "{} links to {link}",
                short(&path)
            );
        }
    }
}

#[test]
fn the_tests_that_are_named_for_each_point_exist() {
    let text = std::fs::read_to_string(root().join("docs/compatibility.md")).unwrap();
    let table = text.split("<!-- points: ").nth(1).unwrap();
    let named: Vec<(&str, &str)> = table.split('`').filter_map(|part| part.split_once("::")).collect();
    assert!(named.len() >= 7, "{named:?}");
    for (file, test) in named {
        let source = std::fs::read_to_string(root().join(file)).unwrap();
        // One that runs on each runtime is named in a list, which makes two tests of it.
        let lists = source.split("on_each_runtime!(").skip(1).filter_map(|rest| rest.split(");").next());
        let is_listed = lists.flat_map(|list| list.split(',')).any(|name| name.trim() == test);
        let is_there = source.contains(&format!("#[test]\nfn {test}()")) || is_listed;
        assert!(is_there, "{file} has no test {test}");
    }
    for point in 1..=7 {
        assert!(table.contains(&format!("\n| {point}, ")), "point {point} has no row");
    }
}

#[test]
fn the_readmes_two_commands_exist_and_ci_runs_the_second() {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).unwrap();
    let readme = read("README.md");
    for command in ["bash scripts/demo.sh", "bash scripts/test.sh"] {
        assert!(readme.contains(command), "README.md does not name `{command}`");
        assert!(root().join(command.trim_start_matches("bash ")).exists(), "{command}");
    }
    let ci = read(".ci/run");
    let runs: Vec<&str> =
        ci.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()).collect();
    assert_eq!(runs.len(), 1, "CI does what a reader can do with one command, and nothing else: {runs:?}");
    assert!(runs[0].contains("scripts/test.sh"), "{runs:?}");
}

#[test]
fn every_room_stands_in_the_architecture() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for entry in std::fs::read_dir(root().join("crates")).unwrap() {
        let room = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(
            text.contains(&format!("{room}/")) || text.contains(&format!("`{room}`")),
            "{room} is not named"
        );
    }
}
