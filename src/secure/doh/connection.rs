//! The connection of `hither-http2` as a session sees it.

use super::http2::{Http2, HttpEvent, HttpHeaders, HttpRequest, HttpResponse};
use crate::event::Refused;
use hither_http2::{Connection, Event, Fault, Request, StreamId};

impl Http2 for Connection {
    fn request(&mut self, request: &HttpRequest<'_>) -> Result<u32, Refused> {
        let HttpRequest { authority, path, body, accept } = *request;
        let made = Connection::request(self, &Request { authority, path, body, accept });
        made.map(|stream| stream.0).map_err(|refused| match refused {
            hither_http2::Refused::Full | hither_http2::Refused::Unsent => Refused::Full,
            hither_http2::Refused::Draining | hither_http2::Refused::Closed => Refused::NotReady,
            hither_http2::Refused::Unsendable => Refused::Unfit,
        })
    }

    fn receive(&mut self, octets: &[u8]) -> Result<(), String> {
        Connection::receive(self, octets).map_err(|error| error.to_string())
    }

    fn poll_event(&mut self) -> Option<HttpEvent> {
        Some(match Connection::poll_event(self)? {
            Event::Ready { streams_max } | Event::Limits { streams_max } => HttpEvent::Limits { streams_max },
            Event::Response(response) => HttpEvent::Response {
                stream: response.stream.0,
                response: HttpResponse {
                    status: response.status,
                    headers: HttpHeaders {
                        content_type: response.headers.content_type,
                        cache_control: response.headers.cache_control,
                        age_s: response.headers.age_s,
                        retry_after: response.headers.retry_after,
                    },
                    body: response.body,
                },
            },
            Event::Reset { stream, code, may_retry, fault } => HttpEvent::Reset {
                stream: stream.0,
                code: code.0,
                may_retry,
                is_too_large: fault == Some(Fault::BodyTooLarge),
            },
            Event::GoAway { last, .. } => HttpEvent::GoAway { last },
        })
    }

    fn transmit(&mut self, octets: &mut Vec<u8>) {
        Connection::transmit(self, octets);
    }

    fn cancel(&mut self, stream: u32) {
        Connection::cancel(self, StreamId(stream));
    }

    fn close(&mut self) {
        Connection::close(self);
    }
}
