//! What a session needs of HTTP/2 (RFC 9113).

use crate::event::Refused;

/// The client side of one connection of HTTP/2, without sockets and TLS.
pub trait Http2 {
    /// Begins a request on a stream of its own, and returns the stream's number.
    ///
    /// # Errors
    /// [`Refused`] if no stream or no memory is free; nothing is sent then.
    fn request(&mut self, request: &HttpRequest<'_>) -> Result<u32, Refused>;

    /// Processes octets of the server.
    ///
    /// # Errors
    /// A detail for the log if the server broke the rules. [`Http2::transmit`] then has the last octets.
    fn receive(&mut self, octets: &[u8]) -> Result<(), String>;

    /// The next event.
    fn poll_event(&mut self) -> Option<HttpEvent>;

    /// Appends the octets that are to be sent, beginning with the connection preface.
    fn transmit(&mut self, octets: &mut Vec<u8>);

    /// Gives up a request.
    fn cancel(&mut self, stream: u32);

    /// Ends the connection in order; [`Http2::transmit`] then has the last octets.
    fn close(&mut self);
}

/// A POST request with its body.
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'a> {
    /// The host and port of the URL.
    pub authority: &'a str,
    /// The path of the URL.
    pub path: &'a str,
    /// The body, a DNS message.
    pub body: &'a [u8],
    /// The media type of the body, and of the response that is accepted.
    pub accept: &'a str,
}

/// What happened on a connection of HTTP/2.
#[derive(Clone, Debug)]
pub enum HttpEvent {
    /// The server's settings have arrived or changed.
    Limits {
        /// The number of streams that may be open.
        streams_max: u32,
    },
    /// A complete response.
    Response {
        /// The stream of its request.
        stream: u32,
        /// The response.
        response: HttpResponse,
    },
    /// The server reset the stream, or its response was broken.
    Reset {
        /// The stream of the request.
        stream: u32,
        /// The error code (RFC 9113, section 7).
        code: u32,
        /// Whether the server did not process the request.
        may_retry: bool,
        /// Whether the response was longer than a DNS message can be.
        is_too_large: bool,
    },
    /// The server takes no more requests.
    GoAway {
        /// The last stream that it may have processed.
        last: u32,
    },
}

/// A response of HTTP.
#[derive(Clone, Debug, Default)]
pub struct HttpResponse {
    /// The status code (RFC 9110, section 15).
    pub status: u16,
    /// The headers that a session reads.
    pub headers: HttpHeaders,
    /// The body, at most 65535 octets.
    pub body: Vec<u8>,
}

/// The headers that a session reads. `None`: the response does not have the header.
#[derive(Clone, Debug, Default)]
pub struct HttpHeaders {
    /// The header `content-type` (RFC 9110, section 8.3).
    pub content_type: Option<String>,
    /// The headers `cache-control`, joined by commas (RFC 9111, section 5.2).
    pub cache_control: Option<String>,
    /// The header `age`, in seconds (RFC 9111, section 5.1).
    pub age_s: Option<u32>,
    /// The header `retry-after`: seconds, or a date (RFC 9110, section 10.2.3).
    pub retry_after: Option<String>,
}
