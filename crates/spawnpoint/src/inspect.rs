//! `spawnpoint inspect`: the flight recorder of one deployment, for people. Asks the server that runs on the data directory;
//! if none does, reads the store.
//!
//! Whatever a game has logged, or a user has named, is printed so that it does nothing to the terminal: control and
//! direction characters are made visible.

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};
use spawnpoint_api::wire::events::FlightRecordBody;
use spawnpoint_api::wire::logs::{ContainerLogsBody, LogFormat};
use spawnpoint_engine::positions::NoPositions;
use spawnpoint_engine::{Engine, Error};
use spawnpoint_model::DeploymentId;

use crate::config::{Loaded, Variables};
use crate::console::{note, print, print_table};
use crate::failure::Failure;
use crate::manage::{find_server, list, operator, path_part, text};
use crate::opened::{Mode, Opened};
use crate::server::parts;

/// Lines of the log that are printed; `--json` has more.
const LINES: usize = 50;

/// Prints the course of a deployment.
///
/// # Errors
/// The installation cannot be reached, or knows no such deployment.
pub async fn inspect(loaded: &Loaded, variables: &Variables, id: &str, json: bool) -> Result<(), Failure> {
    let (record, logs) = match find_server(loaded, variables).await? {
        Some(api) => {
            let id = path_part(id)?;
            let record = api.ask(Method::GET, &format!("/v2/deployments/{id}/events"), None).await?;
            let path = format!("/v1/deployment/{id}/container-logs");
            let logs = match api.call(Method::GET, &path, None).await? {
                (status, logs) if status.is_success() => logs,
                (_, refused) => {
                    note(&format!("no log: {}", visible(refused["message"].as_str().unwrap_or_default())));
                    Value::Null
                }
            };
            (record, logs)
        }
        None => from_store(loaded, id).await?,
    };
    if json {
        print(&json!({ "record": record, "container_logs": logs }).to_string());
    } else {
        print_record(&record);
        print_logs(&logs);
    }
    Ok(())
}

/// The same out of the store, without hosts: what runs on them tells nothing then.
async fn from_store(loaded: &Loaded, id: &str) -> Result<(Value, Value), Failure> {
    let id: DeploymentId = id.parse().map_err(|_| Failure::misused(format!("{id:?} is no id")))?;
    let opened = Opened::open(&loaded.config, Mode::Look).await?;
    let parts = parts(&loaded.config, &opened, Arc::new(NoPositions), loaded.config.api.listen, Vec::new());
    let engine = Engine::open_for_audit(parts).await?;
    let failed = |error: Error| Failure::new(error.to_string());
    let record = engine.flight_record(&operator(), id).await.map_err(failed)?;
    let logs = engine.container_logs(&operator(), id).await.map_err(failed)?;
    let written = |error: serde_json::Error| Failure::new(error.to_string());
    let record = serde_json::to_value(FlightRecordBody::of(record)).map_err(written)?;
    let logs = serde_json::to_value(ContainerLogsBody::of(logs, LogFormat::Text)).map_err(written)?;
    note("no server runs on this data directory: read from its database");
    Ok((record, logs))
}

fn print_record(record: &Value) {
    let mut rows = vec![vec!["deployment".to_owned(), text(&record["request_id"]), text(&record["status"])]];
    let mut row = |name: &str, what: String| rows.push(vec![name.to_owned(), what]);
    match &record["exit"] {
        Value::Null => row("exit", "unknown, or none".to_owned()),
        exit => row("exit", format!("{} (code {})", text(&exit["message"]), exit["code"])),
    }
    row("restarts", text(&record["restarts"]));
    if let (Some(cpu), Some(memory)) =
        (record["peak"]["cpu_percent"].as_f64(), record["peak"]["memory_bytes"].as_f64())
    {
        row("peak", format!("{cpu:.1} % of its CPU, {:.1} MiB", memory / 1_048_576.0));
    }
    for (number, reason) in list(&record["placement"]).iter().enumerate() {
        row(if number == 0 { "placement" } else { "" }, text(reason));
    }
    for cells in rows {
        let (name, rest) = cells.split_first().map_or(("", &[][..]), |(name, rest)| (name.as_str(), rest));
        print(&format!("{name:<11} {}", visible(&rest.join(" "))));
    }
    print("\nevents");
    let events = list(&record["events"]);
    let cells = events.iter().map(|event| {
        [text(&event["at"]), text(&event["kind"]), summary(&event["detail"])]
            .map(|cell| visible(&cell))
            .to_vec()
    });
    print_table(&cells.collect::<Vec<_>>());
}

/// The fields of an event in one line; the reasons of a placement stand above.
fn summary(detail: &Value) -> String {
    let fields = detail.as_object().into_iter().flatten();
    let shown = fields.filter(|(key, value)| *key != "reasons" && !value.is_null());
    shown.map(|(key, value)| format!("{key} {}", text(value))).collect::<Vec<_>>().join(", ")
}

fn print_logs(logs: &Value) {
    let has_own = |key: &str| logs[key].as_str().is_some_and(|log| !log.is_empty());
    if has_own("crash_logs") && logs["crash_logs"] != logs["logs"] {
        let data = &logs["crash_data"];
        print_log(&format!("log of the last crash ({})", text(&data["message"])), &logs["crash_logs"]);
    }
    print_log("log", &logs["logs"]);
    if let Some(link) = logs["logs_link"].as_str() {
        print(&format!("\nthe whole log: {}", visible(link)));
    }
}

fn print_log(title: &str, log: &Value) {
    let lines: Vec<&str> = log.as_str().unwrap_or_default().lines().collect();
    let shown = &lines[lines.len().saturating_sub(LINES)..];
    let left_out = lines.len() - shown.len();
    let title =
        if left_out > 0 { format!("{title}, without {left_out} lines before") } else { title.to_owned() };
    print(&format!("\n{}{}", visible(&title), if lines.is_empty() { ": empty" } else { "" }));
    shown.iter().for_each(|line| print(&format!("  {}", visible(line))));
}

/// Text that does nothing to a terminal: control characters, and characters that change the direction of writing, are
/// written as their numbers.
fn visible(text: &str) -> String {
    let is_direction = |c: char| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .map(|c| match c {
            '\t' => " ".to_owned(),
            c if c.is_control() || is_direction(c) => c.escape_unicode().to_string(),
            c => c.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_printed_reaches_the_terminal_as_a_command() {
        assert_eq!(visible("a\u{1b}[31mred\u{7}"), "a\\u{1b}[31mred\\u{7}");
        assert_eq!(visible("\u{9b}2J\u{202e}x\u{85}\u{2028}"), "\\u{9b}2J\\u{202e}x\\u{85}\\u{2028}");
        assert_eq!(visible("plain \u{e9}\u{1f600}\t."), "plain \u{e9}\u{1f600} .");
    }

    #[test]
    fn an_event_is_told_in_one_line() {
        let detail = json!({"attempt": 2, "exit": {"code": 1, "oom": false}, "reasons": ["x"], "host": "h", "no": null});
        assert_eq!(summary(&detail), "attempt 2, exit {\"code\":1,\"oom\":false}, host h");
    }
}
