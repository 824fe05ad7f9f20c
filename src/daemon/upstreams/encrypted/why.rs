//! How the end of a connection is reported: to the machine, and from the machine to the core.

use hither_connections::{Failure, Why};
use hither_secure::{Error, Phase};
use std::io::{self, ErrorKind};

/// What an error of a socket means.
pub(super) fn of_socket(error: &io::Error) -> Why {
    match error.kind() {
        ErrorKind::ConnectionRefused => Why::Refused,
        ErrorKind::NetworkUnreachable
        | ErrorKind::HostUnreachable
        | ErrorKind::NetworkDown
        | ErrorKind::AddrNotAvailable
        | ErrorKind::TimedOut => Why::Unreachable,
        // The interface that the socket is bound to is gone.
        _ if error.raw_os_error() == Some(nix::libc::ENODEV) => Why::Unreachable,
        _ if hither_net::shortage::is_shortage(error) => Why::NoSocket,
        _ => Why::Reset,
    }
}

/// What the end of a session means.
pub(super) fn of_session(error: &Error) -> Why {
    match error {
        Error::Ended(_) => Why::Ended,
        Error::Silent(_) => Why::Idle,
        Error::Alert(alert, _) if refuses_client(*alert) => Why::Handshake,
        // This side is at fault, so the upstream is left alone as after a failed handshake.
        Error::Internal(_) => Why::Handshake,
        error => match error.phase() {
            Phase::Handshake => Why::Handshake,
            Phase::Ready => Why::Reset,
        },
    }
}

/// Whether an alert refuses the client itself. With TLS 1.3 it may come when the client takes the handshake
/// for complete (RFC 8446, section 4.4.2.4): handshake_failure, those about certificates, access_denied,
/// decrypt_error, and those from unsupported_extension to no_application_protocol.
fn refuses_client(alert: u8) -> bool {
    matches!(alert, 40..=49 | 51 | 109..=120)
}

/// What the core learns when the machine gives up a query.
pub(super) fn of_machine(failure: Failure) -> hither_rounds::Failure {
    match failure {
        Failure::NoSocket => hither_rounds::Failure::NoSocket,
        Failure::Unreachable => hither_rounds::Failure::Unreachable,
        Failure::Refused => hither_rounds::Failure::Refused,
        Failure::Handshake => hither_rounds::Failure::Handshake,
        Failure::Closed | Failure::Silent => hither_rounds::Failure::Closed,
        // Nothing was sent, and nothing is learned of the upstream.
        Failure::Backoff | Failure::NoAddress | Failure::TooMany | Failure::Forgotten | Failure::Stopped => {
            hither_rounds::Failure::Backoff
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_that_refuses_the_client_fails_the_handshake_in_either_phase() {
        for phase in [Phase::Handshake, Phase::Ready] {
            assert_eq!(of_session(&Error::Alert(116, phase)), Why::Handshake, "certificate_required");
        }
        assert_eq!(of_session(&Error::Alert(80, Phase::Ready)), Why::Reset, "internal_error");
        assert_eq!(of_session(&Error::Alert(80, Phase::Handshake)), Why::Handshake);
    }

    #[test]
    fn errors_of_a_socket_are_told_apart() {
        let of = |number| of_socket(&io::Error::from_raw_os_error(number));
        use nix::libc::{ECONNREFUSED, ECONNRESET, EHOSTUNREACH, EMFILE, ENODEV, EPIPE, ETIMEDOUT};
        assert_eq!(of(ECONNREFUSED), Why::Refused);
        assert_eq!([EHOSTUNREACH, ETIMEDOUT, ENODEV].map(of), [Why::Unreachable; 3]);
        assert_eq!([ECONNRESET, EPIPE].map(of), [Why::Reset; 2]);
        assert_eq!(of(EMFILE), Why::NoSocket);
    }
}
