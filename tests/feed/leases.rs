//! Leases: names are renewed while a program is subscribed to them, within the shares of rounds.

use super::*;
use std::time::Instant;

#[test]
fn a_leased_name_is_renewed_and_its_change_is_told_without_any_query() {
    let (upstream, end) = changing(2);
    let daemon = Daemon::start(&[&upstream], "");
    let program = Program::connect(&daemon);
    assert!(matches!(program.subscribe(Families::A, &["www.example"]), Got::Accepted { .. }));
    assert_eq!(program.change(Family::A).cause, Cause::NewSet);
    let began = Instant::now();
    for next in 2..4 {
        end.store(next, Ordering::SeqCst);
        assert_eq!(program.change(Family::A).cause, Cause::NewSet);
    }
    let took = began.elapsed();
    // A TTL of two seconds is renewed every five seconds, and never more often.
    assert_eq!(upstream.count(), 3, "one query for each version");
    assert!((Duration::from_secs(9)..Duration::from_secs(20)).contains(&took), "{took:?}");
    assert_eq!(counter(&daemon, Counter::FeedRefreshes), 3);
    assert_eq!(counter(&daemon, Counter::Queries), 0);
    drop(program);
    daemon.until("the lease is released", |daemon| counter(daemon, Counter::FeedNames) == 0);
}

#[test]
fn a_user_gets_no_more_rounds_than_its_share() {
    let (upstream, _) = changing(3600);
    let daemon = Daemon::start(&[&upstream], "[feed]\nrounds_per_user = 10\n");
    let program = Program::connect(&daemon);
    let names: Vec<String> = (0..40).map(|n| format!("host-{n}.example")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let began = Instant::now();
    assert!(matches!(program.subscribe(Families::A, &names), Got::Accepted { names: 40, .. }));
    (0..40).for_each(|_| assert_eq!(program.change(Family::A).cause, Cause::NewSet));
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(2_900), "ten at once and ten a second: {took:?}");
    assert_eq!(upstream.count(), 40);
}
