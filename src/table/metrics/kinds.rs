//! What is counted apart. The order of each list is part of the layout: new kinds are added at the
//! end, up to the number of words that `layout.rs` reserves.

macro_rules! kinds {
    ($(
        $(#[$doc:meta])* $kind:ident { $($(#[$of:meta])* $variant:ident = $word:literal),* $(,)? }
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
            pub enum $kind {
                $($(#[$of])* $variant),*
            }

            impl $kind {
                /// All of them, in the order of the table.
                pub const ALL: &'static [$kind] = &[$($kind::$variant),*];

                /// One word, in lower case.
                #[must_use]
                pub const fn as_str(self) -> &'static str {
                    match self {
                        $($kind::$variant => $word),*
                    }
                }
            }
        )*
    };
}

kinds! {
    /// Where the answer to a client's query came from.
    AnswerSource {
        /// The cache.
        Hit = "hit",
        /// A round: an upstream's response.
        Round = "round",
        /// The cache, although the data had expired (RFC 8767).
        Stale = "stale",
        /// Data that was restored from before the last boot, and not renewed since.
        Restored = "restored",
        /// Local data: special-use names, hosts files, block lists.
        Local = "local",
        /// None: the client got an error.
        Failure = "failure",
        /// Another host of the site, which was asked before upstreams.
        Site = "site",
    }

    /// Why an attempt got no useful response from its upstream.
    UpstreamFailure {
        /// No response came in time.
        Timeout = "timeout",
        /// The network reported that there is no way to the upstream.
        Unreachable = "unreachable",
        /// Nothing listens at the upstream's port.
        ConnectionRefused = "connection_refused",
        /// The connection ended before the response.
        Closed = "closed",
        /// This host had no socket for the query.
        NoSocket = "no_socket",
        /// The handshake of an encrypted connection failed.
        Handshake = "handshake",
        /// The query was not sent: connecting had just failed.
        NotConnected = "not_connected",
        /// The response could not be read, or was to another question.
        BadResponse = "bad_response",
        /// The response was SERVFAIL.
        Servfail = "servfail",
        /// The response was REFUSED.
        Refused = "refused",
        /// The response had another RCODE that is an error.
        OtherRcode = "other_rcode",
    }

    /// The state of an upstream, as `hitherctl status` shows it.
    UpstreamState {
        /// It has not responded yet.
        Unknown = "unknown",
        /// It responds.
        Up = "up",
        /// It has not responded lately.
        Silent = "silent",
        /// It gets no queries before its next trial.
        Down = "down",
        /// One query is on its way to learn whether it is back.
        Trial = "trial",
    }

    /// The transport of an upstream.
    UpstreamTransport {
        /// UDP, with TCP for truncated responses.
        Udp = "udp",
        /// TCP alone.
        Tcp = "tcp",
        /// DNS over TLS.
        Tls = "tls",
        /// DNS over HTTPS.
        Https = "https",
        /// DNS over QUIC.
        Quic = "quic",
    }

    /// How the sorter probes an address.
    ProbeMethod {
        /// An ICMP echo request.
        Icmp = "icmp",
        /// A TCP connection.
        Tcp = "tcp",
        /// A TCP connection and a TLS handshake.
        Tls = "tls",
    }

    /// What a probe of the sorter has shown.
    ProbeOutcome {
        /// The address answered.
        Answered = "answered",
        /// The address refused the connection: it is there.
        Refused = "refused",
        /// No answer came in time, or there is no way to the address.
        Silent = "silent",
        /// The host could not send the probe.
        NotSent = "not_sent",
    }
}
