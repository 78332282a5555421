//! What a fake workload does, and how an image name says so.
//!
//! What it is for: `fake/game:exit-3-after-200ms` is a whole test. The words stand in the last part of the image
//! reference (name and tag), separated by `.`, `_`, `+` or `:`; a word that is none of these means nothing:
//!
//! | word | effect |
//! |---|---|
//! | `ok` | runs and listens at once (also without any word) |
//! | `image-missing` | the registry does not know the image |
//! | `pull-error` | the registry fails; trying again is allowed |
//! | `pull-stall` | the pull makes no progress and is cut after 60 s |
//! | `pull-slow`, `pull-delay-<time>` | the pull takes 2 s, or that long |
//! | `start-error` | the engine refuses to start it; it stays behind as made |
//! | `port-busy` | its first host port is taken by a stranger |
//! | `no-capacity` | the host has no room |
//! | `hang` | the start never answers and has no effect |
//! | `lost-reply` | the start works, the answer is lost |
//! | `start-delay-<time>` | the start takes that long |
//! | `never-listens`, `listen-delay-<time>` | its ports stay closed, or open that long after the start |
//! | `exit-<code>`, `exit-<code>-after-<time>` | its process ends by itself |
//! | `oom`, `oom-after-<time>` | the kernel ends it for its memory |
//! | `ignore-term`, `term-delay-<time>`, `term-exit-<code>` | what SIGTERM does; else it ends at once with 0 |
//! | `log-<count>` | it logs that many lines at its start |
//!
//! A time is a number and `ms` or `s`.

use std::time::Duration;

use spawnpoint_model::deployment::Exit;

use super::STALL;

/// How pulling the image goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Pull {
    /// It comes.
    #[default]
    Works,
    /// The registry does not know it.
    Unknown,
    /// The registry fails.
    Fails,
    /// No progress.
    Stalls,
}

/// How the start goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Start {
    /// It runs.
    #[default]
    Works,
    /// Refused; the workload stays behind, made but not started.
    Fails,
    /// Its first host port is taken.
    PortBusy,
    /// No room.
    NoCapacity,
    /// No answer, no effect.
    Hangs,
    /// No answer, yet it runs.
    LostReply,
}

/// Everything a fake workload does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Behaviour {
    /// How pulling the image goes.
    pub pull: Pull,
    /// How long a working pull takes.
    pub pull_delay: Duration,
    /// How the start goes.
    pub start: Start,
    /// How long a start takes.
    pub start_delay: Duration,
    /// How long after the start it listens; `None` = never.
    pub listen_after: Option<Duration>,
    /// How long after the start it ends by itself, and how.
    pub exit: Option<(Duration, Exit)>,
    /// What SIGTERM does: ends it this much later with this code; `None` = nothing.
    pub on_term: Option<(Duration, i32)>,
    /// Lines it logs at its start.
    pub log_lines: u32,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            pull: Pull::Works,
            pull_delay: Duration::ZERO,
            start: Start::Works,
            start_delay: Duration::ZERO,
            listen_after: Some(Duration::ZERO),
            exit: None,
            on_term: Some((Duration::ZERO, 0)),
            log_lines: 1,
        }
    }
}

impl Behaviour {
    /// Reads the words of an image reference.
    #[must_use]
    pub fn of_image(image: &str) -> Self {
        let last = image.rsplit('/').next().unwrap_or(image);
        let mut behaviour = Self::default();
        for word in last.split(['.', '_', '+', ':', '@']) {
            behaviour.read(word);
        }
        behaviour
    }

    fn read(&mut self, word: &str) {
        match word {
            "image-missing" => self.pull = Pull::Unknown,
            "pull-error" => self.pull = Pull::Fails,
            "pull-stall" => (self.pull, self.pull_delay) = (Pull::Stalls, STALL),
            "pull-slow" => self.pull_delay = Duration::from_secs(2),
            "start-error" => self.start = Start::Fails,
            "port-busy" => self.start = Start::PortBusy,
            "no-capacity" => self.start = Start::NoCapacity,
            "hang" => self.start = Start::Hangs,
            "lost-reply" => self.start = Start::LostReply,
            "never-listens" => self.listen_after = None,
            "ignore-term" => self.on_term = None,
            "oom" => self.exit = Some((Duration::ZERO, OOM)),
            _ => self.read_amount(word),
        }
    }

    /// The words that carry a number.
    fn read_amount(&mut self, word: &str) {
        let after = |prefix: &str| word.strip_prefix(prefix);
        if let Some(delay) = after("pull-delay-").and_then(time) {
            self.pull_delay = delay;
        } else if let Some(delay) = after("start-delay-").and_then(time) {
            self.start_delay = delay;
        } else if let Some(delay) = after("listen-delay-").and_then(time) {
            self.listen_after = Some(delay);
        } else if let Some(delay) = after("oom-after-").and_then(time) {
            self.exit = Some((delay, OOM));
        } else if let Some(delay) = after("term-delay-").and_then(time) {
            self.on_term = Some((delay, self.on_term.map_or(0, |(_, code)| code)));
        } else if let Some(code) = after("term-exit-").and_then(|n| n.parse().ok()) {
            self.on_term = Some((self.on_term.map_or(Duration::ZERO, |(delay, _)| delay), code));
        } else if let Some(lines) = after("log-").and_then(|n| n.parse().ok()) {
            self.log_lines = lines;
        } else if let Some(rest) = after("exit-") {
            let (code, delay) = rest.split_once("-after-").unwrap_or((rest, "0s"));
            if let (Ok(code), Some(delay)) = (code.parse(), time(delay)) {
                self.exit = Some((delay, Exit { code, oom: false, disk: false }));
            }
        }
    }
}

/// What the kernel leaves behind when it ends a process for its memory.
const OOM: Exit = Exit { code: 137, oom: true, disk: false };

fn time(text: &str) -> Option<Duration> {
    if let Some(millis) = text.strip_suffix("ms") {
        return millis.parse().ok().map(Duration::from_millis);
    }
    text.strip_suffix('s')?.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_without_words_just_works() {
        for image in ["game", "registry.test:5000/hang/game:1.2.3", "fake/game:ok", "a/b@sha256:00ff"] {
            assert_eq!(Behaviour::of_image(image), Behaviour::default(), "{image}");
        }
    }

    #[test]
    fn words_stand_in_name_and_tag_and_may_be_combined() {
        let it = Behaviour::of_image("fake/ignore-term:start-delay-500ms.exit-3-after-2s_listen-delay-40ms");
        assert_eq!(it.start_delay, Duration::from_millis(500));
        assert_eq!(it.exit, Some((Duration::from_secs(2), Exit { code: 3, oom: false, disk: false })));
        assert_eq!(it.listen_after, Some(Duration::from_millis(40)));
        assert_eq!(it.on_term, None);
    }

    #[test]
    fn every_word_of_the_table_does_something() {
        for word in [
            "image-missing",
            "pull-error",
            "pull-stall",
            "pull-slow",
            "pull-delay-1s",
            "start-error",
            "port-busy",
            "no-capacity",
            "hang",
            "lost-reply",
            "start-delay-1ms",
            "never-listens",
            "listen-delay-1ms",
            "exit-0",
            "exit-1-after-1s",
            "oom",
            "oom-after-1s",
            "ignore-term",
            "term-delay-1s",
            "term-exit-143",
            "log-7",
        ] {
            assert_ne!(Behaviour::of_image(&format!("fake/x:{word}")), Behaviour::default(), "{word}");
        }
    }

    #[test]
    fn words_that_are_not_quite_right_mean_nothing() {
        for word in ["exit-", "exit-x", "exit-1-after-", "start-delay-5", "oom-after-s", "log-many", "hangs"]
        {
            assert_eq!(Behaviour::of_image(&format!("fake/x:{word}")), Behaviour::default(), "{word}");
        }
    }
}
