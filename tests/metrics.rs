//! The metrics: what the real daemon records in its table (`recording`), as hitherctl prints them
//! (`scrape`), as clients of any kind get them (`clients`), and as Prometheus, its rules and the board for
//! Grafana use them (`prometheus`).
#![allow(clippy::disallowed_methods)] // Tests with real time.

#[path = "metrics/clients.rs"]
mod clients;
#[path = "metrics/prometheus.rs"]
mod prometheus;
#[path = "metrics/recording.rs"]
mod recording;
#[path = "metrics/scrape.rs"]
mod scrape;
mod support;
