//! From what the engine says to what the contract says.

use bollard::errors::Error;
use spawnpoint_driver::{DriverError, PortPublish};
use spawnpoint_model::Transport;

/// The HTTP status and text of an answer of the engine, if it is one.
pub fn answer(error: &Error) -> Option<(u16, &str)> {
    match error {
        Error::DockerResponseServerError { status_code, message } => Some((*status_code, message)),
        _ => None,
    }
}

/// What an error means when nothing more is known about the call.
pub fn from_bollard(error: &Error) -> DriverError {
    match error {
        Error::DockerResponseServerError { status_code: 400, message } => {
            DriverError::Invalid(sentence(message))
        }
        Error::DockerResponseServerError { status_code: 404, message }
            if message.starts_with("No such container") =>
        {
            DriverError::Missing
        }
        Error::DockerResponseServerError { message, .. } | Error::DockerStreamError { error: message } => {
            if is_full(message) {
                DriverError::NoCapacity(sentence(message))
            } else {
                DriverError::Internal(sentence(message))
            }
        }
        Error::HyperLegacyError { err } if err.is_connect() => DriverError::Unavailable(root_cause(error)),
        // The connection broke in the middle: whether the engine did it is not known.
        Error::RequestTimeoutError | Error::HyperLegacyError { .. } | Error::HyperResponseError { .. } => {
            DriverError::Timeout
        }
        Error::SocketNotFoundError(_) | Error::IOError { .. } => DriverError::Unavailable(root_cause(error)),
        other => DriverError::Internal(sentence(&root_cause(other))),
    }
}

/// What a failed create means.
pub fn from_create(error: &Error) -> DriverError {
    match answer(error) {
        Some((404, message)) if message.to_ascii_lowercase().contains("no such image") => {
            DriverError::ImageMissing
        }
        Some((400, message)) if message.contains("Range of CPUs") => {
            DriverError::NoCapacity(sentence(message))
        }
        _ => from_bollard(error),
    }
}

/// What a failed start means.
pub fn from_start(error: &Error, ports: &[PortPublish]) -> DriverError {
    let Some((status, message)) = answer(error) else { return from_bollard(error) };
    if message.contains("port is already allocated") || message.contains("address already in use") {
        return busy_port(message, ports);
    }
    let runtime_refused =
        message.contains("OCI runtime") || message.contains("runc") || message.contains("exec:");
    if !is_full(message) && (status == 400 || runtime_refused) {
        return DriverError::StartFailed(sentence(message));
    }
    from_bollard(error)
}

/// What it means that files could not be put into a container: its image decides what can be written where.
pub fn from_files(error: &Error) -> DriverError {
    match answer(error) {
        Some((_, message)) if !is_full(message) => DriverError::StartFailed(format!(
            "the files of its pull profiles cannot be put into the container: {}",
            sentence(message)
        )),
        _ => from_bollard(error),
    }
}

/// Which of the ports the engine's sentence speaks of: it names the number, and mostly the protocol.
fn busy_port(message: &str, ports: &[PortPublish]) -> DriverError {
    let names_number = |port: &&PortPublish| {
        let needle = format!(":{}", port.external);
        let ends = message.match_indices(&needle).map(|(at, _)| at + needle.len());
        ends.map(|end| message.as_bytes().get(end)).any(|next| next.is_none_or(|b| !b.is_ascii_digit()))
    };
    let named: Vec<&PortPublish> = ports.iter().filter(names_number).collect();
    let names_protocol = |port: &&&PortPublish| {
        message.contains(&format!("listen {}", port.transport.as_str())) || {
            message.contains(&format!("/{}", port.transport.as_str()))
        }
    };
    let port = named.iter().find(names_protocol).or(named.first()).copied().or(ports.first());
    port.map_or_else(
        || DriverError::StartFailed(sentence(message)),
        |port| DriverError::PortBusy { port: port.external, transport: port.transport },
    )
}

fn is_full(message: &str) -> bool {
    ["no space left on device", "cannot allocate memory", "no available IPv4 addresses", "exchange full"]
        .iter()
        .any(|sign| message.contains(sign))
}

/// One line fit to be shown to users.
fn sentence(message: &str) -> String {
    const LENGTH: usize = 500;
    let line: String =
        message.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(LENGTH).collect();
    if line.is_empty() { "the engine gave no reason".to_owned() } else { line }
}

/// The innermost cause: "permission denied" says more than "client error".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// Transport of a name in the engine's answers.
pub fn transport(name: &str) -> Option<Transport> {
    match name {
        "tcp" => Some(Transport::Tcp),
        "udp" => Some(Transport::Udp),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(status_code: u16, message: &str) -> Error {
        Error::DockerResponseServerError { status_code, message: message.to_owned() }
    }

    fn port(external: u16, transport: Transport) -> PortPublish {
        PortPublish { internal: 7777, external, transport }
    }

    #[test]
    fn the_busy_port_is_found_in_every_wording_of_the_engine() {
        let ports = [port(3100, Transport::Tcp), port(31001, Transport::Tcp), port(31001, Transport::Udp)];
        for (message, transport) in [
            (
                "driver failed programming external connectivity on endpoint x (00): Error starting userland proxy: \
                 listen udp4 0.0.0.0:31001: bind: address already in use",
                Transport::Udp,
            ),
            ("Bind for 0.0.0.0:31001 failed: port is already allocated", Transport::Tcp),
            (
                "failed to set up container networking: failed to bind host port for \
                 0.0.0.0:31001:172.18.0.2:7777/udp: address already in use",
                Transport::Udp,
            ),
        ] {
            let busy = DriverError::PortBusy { port: 31001, transport };
            assert_eq!(from_start(&says(500, message), &ports), busy, "{message}");
        }
    }

    #[test]
    fn a_missing_image_and_a_missing_network_are_told_apart() {
        assert_eq!(from_create(&says(404, "No such image: game:1")), DriverError::ImageMissing);
        let network = from_create(&says(404, "network spawnpoint-x not found"));
        assert!(matches!(network, DriverError::Internal(_)));
    }

    #[test]
    fn a_missing_binary_is_a_failed_start_and_not_retried() {
        let message = "failed to create shim: OCI runtime create failed: runc create failed: unable to start \
                       container process: exec: \"/no\": stat /no: no such file or directory: unknown";
        for status in [400, 404, 500] {
            let error = from_start(&says(status, message), &[]);
            assert!(matches!(&error, DriverError::StartFailed(text) if text.contains("/no")), "{error}");
            assert!(!error.retryable());
        }
    }

    #[test]
    fn a_full_disk_is_no_room_and_not_the_fault_of_the_image() {
        let message = "failed to create shim: OCI runtime create failed: write /x: no space left on device";
        assert!(matches!(from_start(&says(500, message), &[]), DriverError::NoCapacity(_)));
    }

    #[test]
    fn sentences_hold_no_control_characters() {
        let DriverError::Invalid(text) = from_bollard(&says(400, "a\u{1b}[31mb\nc")) else { panic!() };
        assert_eq!(text, "a [31mb c");
    }
}
