//! The command line as a user sees it: exit codes and what is printed.

use crate::process::{run, text};

#[test]
fn a_bad_configuration_names_file_line_and_key_and_exits_2() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("bad.toml"), "[api]\nlisten = \"127.0.0.1:0\"\nprot = 1\n").unwrap();
    for command in [&["config", "check"][..], &["serve"], &["audit"], &["migrate"], &["token", "list"]] {
        let arguments = [command, &["--config", "bad.toml"]].concat();
        let output = run(&arguments, dir.path());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
        let message = text(&output.stderr);
        for part in ["bad.toml", "line 3", "`prot`", "`listen`"] {
            assert!(message.contains(part), "{message}");
        }
    }
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        1,
        "nothing was made before the mistake was found"
    );
}

#[test]
fn the_printed_defaults_are_a_configuration_that_checks() {
    let dir = tempfile::tempdir().unwrap();
    let printed = run(&["config", "print-default"], dir.path());
    assert_eq!(printed.status.code(), Some(0));
    std::fs::write(dir.path().join("default.toml"), &printed.stdout).unwrap();
    let checked = run(&["config", "check", "--config", "default.toml"], dir.path());
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    assert!(text(&checked.stdout).contains("1 site, 1 host"), "{}", text(&checked.stdout));
}

#[test]
fn wrong_usage_exits_2_and_help_and_version_exit_0() {
    let dir = tempfile::tempdir().unwrap();
    for (arguments, code) in [
        (&["nonsense"][..], 2),
        (&["token", "create"], 2),
        (&["serve", "--listen", "nowhere"], 2),
        (&["beacon", "--listen", "127.0.0.1:0"], 2),
        (&["beacon", "--listen", "127.0.0.1:60000"], 2),
        (&["--help"], 0),
        (&["version"], 0),
        (&["--version"], 0),
    ] {
        let output = run(arguments, dir.path());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
