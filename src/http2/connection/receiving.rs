//! What the server sends.

use super::{Connection, OUTPUT_MAX, Patience, Section, State};
use crate::error::{Error, ErrorCode, Flood};
use crate::frame::{Frame, flag, kind};
use crate::head::{self, Unusable};
use crate::settings::WINDOW_MAX;
use crate::stream::Progress;
use crate::{Event, StreamId};

impl Connection {
    /// Applies octets from the server, in pieces of any size.
    ///
    /// # Errors
    /// An error ends the connection, with all its streams: GOAWAY is queued, and streams have no further
    /// events. Events from before the error remain.
    pub fn receive(&mut self, octets: &[u8]) -> Result<(), Error> {
        if self.state == State::Ended {
            return Err(Error::Closed);
        }
        let mut rest = octets;
        // Taken out, since a frame may lie within the reader while it is applied.
        let mut reader = std::mem::take(&mut self.reader);
        let result = loop {
            let applied = match reader.next(&mut rest) {
                Ok(Some((header, payload))) => {
                    Frame::read(header, payload).and_then(|frame| self.apply(header.kind(), frame))
                }
                Ok(None) => break Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = applied {
                break Err(error);
            }
        };
        self.reader = reader;
        result.map_err(|error| self.fail(error))
    }

    fn apply(&mut self, kind: u8, frame: Frame<'_>) -> Result<(), Error> {
        self.check_order(kind, &frame)?;
        match frame {
            Frame::Data { stream, octets, counted, ends_stream } => {
                self.data(stream, octets, counted, ends_stream)?;
            }
            Frame::Headers { stream, section, ends_stream, ends_section: true } => {
                self.headers(stream, section, ends_stream)?;
            }
            Frame::Headers { stream, section, ends_stream, ends_section: false } => {
                self.section = Some(Section { stream, ends_stream, octets: Vec::new() });
                self.continue_section(section, false)?;
            }
            Frame::Continuation { section, ends_section, .. } => {
                self.continue_section(section, ends_section)?;
            }
            Frame::Reset { stream, code } => self.reset_by_server(stream, code)?,
            Frame::Settings(payload) => self.settings(payload)?,
            Frame::Ping(octets) => {
                self.spend_patience()?;
                self.send(kind::PING, flag::ACK, 0, &octets);
            }
            Frame::GoAway { last, code } => self.go_away(last, code)?,
            Frame::WindowUpdate { stream, increment } => self.window_update(stream, increment)?,
            Frame::SettingsAck | Frame::Ignored => self.spend_patience()?,
        }
        // What has to wait is bounded elsewhere; here are acknowledgements that the server does not read.
        let is_read = self.outgoing.octets.len() <= 2 * OUTPUT_MAX;
        if is_read { Ok(()) } else { Err(Error::Flood(Flood::Unread)) }
    }

    /// Checks that a header section is in one piece (RFC 9113, section 4.3), and that a stream exists or
    /// has existed (section 5.1). Streams are opened by us alone.
    fn check_order(&self, kind: u8, frame: &Frame<'_>) -> Result<(), Error> {
        let open = self.section.as_ref().map(|section| section.stream);
        let (continued, stream) = match *frame {
            Frame::Continuation { stream, .. } => (Some(stream), stream),
            Frame::Data { stream, .. }
            | Frame::Headers { stream, .. }
            | Frame::Reset { stream, .. }
            | Frame::WindowUpdate { stream, .. } => (None, stream),
            Frame::Settings(_)
            | Frame::SettingsAck
            | Frame::Ping(_)
            | Frame::GoAway { .. }
            | Frame::Ignored => (None, 0),
        };
        if open != continued {
            return Err(Error::BrokenHeaderSection);
        }
        let is_known = stream == 0 || (stream % 2 == 1 && stream < self.next);
        if is_known { Ok(()) } else { Err(Error::FrameStream(kind)) }
    }

    fn spend_patience(&mut self) -> Result<(), Error> {
        self.patience.0 = self.patience.0.checked_sub(1).ok_or(Error::Flood(Flood::Useless))?;
        Ok(())
    }

    fn data(&mut self, id: u32, octets: &[u8], counted: u32, ends: bool) -> Result<(), Error> {
        self.window.take(counted)?;
        if octets.is_empty() && !ends {
            self.spend_patience()?;
        }
        let Some(stream) = self.streams.get_mut(&id) else {
            self.free(counted);
            return self.spend_patience();
        };
        stream.take(counted)?;
        let before = stream.held();
        let progress = stream.data(octets, ends);
        let dropped = counted - (stream.held() - before);
        let increment = stream.free(dropped);
        self.free(dropped);
        match progress {
            Ok(Progress::Partial) => {
                if let Some(increment) = increment {
                    self.send(kind::WINDOW_UPDATE, 0, id, &increment.to_be_bytes());
                }
            }
            Ok(progress) => self.finish(id, progress),
            Err(fault) => self.reset(id, fault),
        }
        Ok(())
    }

    fn continue_section(&mut self, octets: &[u8], ends: bool) -> Result<(), Error> {
        self.spend_patience()?;
        let Some(section) = &mut self.section else { return Err(Error::BrokenHeaderSection) };
        if section.octets.len() + octets.len() > self.config.header_list_max as usize {
            return Err(Error::Flood(Flood::HeaderSection));
        }
        section.octets.extend_from_slice(octets);
        match self.section.take_if(|_| ends) {
            Some(section) => self.headers(section.stream, &section.octets, section.ends_stream),
            None => Ok(()),
        }
    }

    fn headers(&mut self, id: u32, section: &[u8], ends: bool) -> Result<(), Error> {
        let applied = match self.streams.get_mut(&id) {
            Some(stream) => stream.headers(section, ends, &mut self.table, &self.config),
            None => head::skip(section, &mut self.table, &self.config).map(|()| Progress::Partial),
        };
        match applied {
            // The beginning of a response, a status before the final one (section 8.1), or a stream that
            // has ended.
            Ok(Progress::Partial) => self.spend_patience()?,
            Ok(progress) => self.finish(id, progress),
            Err(Unusable::Fields(fault)) => self.reset(id, fault),
            Err(Unusable::Octets(error)) => return Err(error),
        }
        Ok(())
    }

    /// Ends a stream whose response is complete.
    fn finish(&mut self, id: u32, progress: Progress) {
        let Some(stream) = self.remove(id) else { return };
        // The server may answer before it has read the request (section 8.1).
        if progress == Progress::Sufficient || !stream.unsent().is_empty() {
            self.send_reset(id, ErrorCode::CANCEL);
        }
        self.patience.earn(Patience::RESPONSE);
        self.events.extend(stream.into_response(StreamId(id)).map(Event::Response));
    }

    fn reset_by_server(&mut self, id: u32, code: ErrorCode) -> Result<(), Error> {
        if self.remove(id).is_none() {
            return self.spend_patience();
        }
        self.note_reset(id, code, code == ErrorCode::REFUSED_STREAM);
        Ok(())
    }

    fn note_reset(&mut self, id: u32, code: ErrorCode, may_retry: bool) {
        self.events.push_back(Event::Reset { stream: StreamId(id), code, fault: None, may_retry });
    }

    fn settings(&mut self, payload: &[u8]) -> Result<(), Error> {
        self.spend_patience()?;
        let is_first = self.state == State::Opening;
        let before = self.streams_max();
        self.settings.apply(payload, is_first)?;
        let initial = self.settings.initial_window;
        if self.streams.values().any(|stream| stream.send_window(initial) > WINDOW_MAX) {
            return Err(Error::Window);
        }
        self.send(kind::SETTINGS, flag::ACK, 0, &[]);
        let streams_max = self.streams_max();
        if is_first {
            self.state = State::Ready;
            self.events.push_back(Event::Ready { streams_max });
        } else if streams_max != before {
            self.events.push_back(Event::Limits { streams_max });
        }
        self.send_bodies();
        Ok(())
    }

    fn go_away(&mut self, last: u32, code: ErrorCode) -> Result<(), Error> {
        self.spend_patience()?;
        self.state = State::Draining;
        self.events.push_back(Event::GoAway { last, code });
        let unprocessed: Vec<u32> = self.streams.range(last.saturating_add(1)..).map(|(id, _)| *id).collect();
        for id in unprocessed {
            self.remove(id);
            self.note_reset(id, ErrorCode::REFUSED_STREAM, true);
        }
        Ok(())
    }

    fn window_update(&mut self, id: u32, increment: u32) -> Result<(), Error> {
        self.spend_patience()?;
        if id == 0 {
            self.outgoing.window += i64::from(increment);
            if increment == 0 || self.outgoing.window > WINDOW_MAX {
                return Err(Error::Window);
            }
        } else if let Some(stream) = self.streams.get_mut(&id)
            && let Err(fault) = stream.widen(increment, self.settings.initial_window)
        {
            self.reset(id, fault);
        }
        self.send_bodies();
        Ok(())
    }
}
