//! The house style, as far as neither rustfmt nor clippy can see it.

use crate::workspace::{files, members, root, short};

/// Lines of a source file, at most.
const LINES_MAX: usize = 800;

#[test]
fn no_source_file_is_longer_than_800_lines() {
    for path in files(".rs") {
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines: split it", short(&path));
    }
}

#[test]
fn no_module_lives_in_a_mod_rs() {
    for path in files(".rs") {
        assert!(!path.ends_with("mod.rs"), "{}: name the file as the module", short(&path));
    }
}

#[test]
fn every_source_file_says_first_what_it_is_for() {
    for path in files(".rs") {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//!"), "{} does not begin with //!", short(&path));
    }
}

#[test]
fn nothing_is_left_unfinished_or_switched_off() {
    // Written in two parts so that this file does not find itself.
    let unwanted = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["XX", "X "],
        ["#[ign", "ore"],
        ["todo", "!("],
        ["unimpl", "emented!("],
    ];
    for path in files(".rs").into_iter().chain(files(".sh")) {
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            for parts in unwanted {
                assert!(!line.contains(&parts.concat()), "{}:{}: {line}", short(&path), number + 1);
            }
        }
    }
}

#[test]
fn every_crate_has_the_workspaces_licence_and_lints() {
    for package in members() {
        let name = &package["name"];
        assert_eq!(package["license"], "Apache-2.0", "{name}");
        let manifest = std::fs::read_to_string(package["manifest_path"].as_str().unwrap()).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        assert_eq!(manifest["lints"]["workspace"].as_bool(), Some(true), "{name} keeps its own lints");
        assert!(manifest["package"]["description"].as_str().is_some_and(|text| text.len() > 10), "{name}");
    }
    let licence = std::fs::read_to_string(root().join("LICENSE")).unwrap();
    assert!(licence.contains("Apache License") && licence.contains("END OF TERMS AND CONDITIONS"));
}

#[test]
fn scripts_say_what_they_do_and_under_which_licence() {
    let scripts = files(".sh").into_iter().chain([root().join(".ci/run")]);
    for path in scripts {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("SPDX-License-Identifier: Apache-2.0"), "{}", short(&path));
        assert!(text.lines().take(4).any(|line| line.starts_with("# ")), "{}", short(&path));
    }
}
