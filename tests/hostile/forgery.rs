//! Protection against forged responses: TCP, mixed letter case and cookies.

use super::*;

#[test]
fn after_a_forged_response_the_question_is_asked_over_tcp() {
    let upstream = Upstream::start(|query, tcp| {
        let mut forged = answer(query, &[66], 300);
        forged[0] ^= 0x55;
        match tcp {
            true => vec![(0, answer(query, &[1], 300))],
            // Then a forged response with the right id, as if it had been guessed.
            false => vec![(0, forged), (5, answer(query, &[66], 300))],
        }
    });
    let daemon = Daemon::start(&[&upstream], "");
    assert_eq!(ends(&daemon.ask("forged.example")), [1]);
    let stats = daemon.json(&["stats"]);
    assert_eq!(
        (&stats["forgeries_suspected"], &stats["mismatched_responses_dropped"]),
        (&1.into(), &1.into())
    );
}

#[test]
fn mixed_letter_case_does_not_reach_clients() {
    let upstream = Upstream::start(|query, _| {
        let mixed = query[12..].iter().any(u8::is_ascii_uppercase);
        assert!(mixed || Query::read(query).is_ok());
        // A CNAME whose target ends in a compression pointer into the question, as servers write it.
        vec![(
            0,
            compose(query, Rcode::NOERROR, 0, |composer| {
                let target = b"\x04edge\xc0\x10";
                assert!(composer.record(Section::Answer, Owner::At(12), Rtype::CNAME, 300, target));
                assert!(composer.record(
                    Section::Answer,
                    Owner::Wire(b"\x04edge\xc0\x10"),
                    Rtype::A,
                    300,
                    &[198, 18, 0, 1]
                ));
            }),
        )]
    });
    let daemon = Daemon::start(&[&upstream], "");
    for n in 0..4 {
        let name = format!("ww{n}.letters-of-a-long-name.example");
        daemon.ask(&name);
        let entry = daemon.json(&["lookup", &name]);
        assert_eq!(entry["canonical"], "edge.letters-of-a-long-name.example.", "{entry}");
    }
}

/// The data of a query's COOKIE option (RFC 7873).
fn cookie(query: &[u8]) -> Option<Vec<u8>> {
    let edns = Query::read(query).expect("a query").edns()?;
    edns.options().find(|(code, _)| *code == 10).map(|(_, data)| data.to_vec())
}

#[test]
fn cookies_are_sent_and_learned_and_a_response_without_one_goes_to_tcp() {
    let silent = Arc::new(AtomicBool::new(false));
    let upstream = Upstream::start({
        let silent = Arc::clone(&silent);
        move |query, tcp| {
            let client = cookie(query).expect("every query has a cookie")[..8].to_vec();
            let with = compose(query, Rcode::NOERROR, 0, |composer| {
                assert!(composer.record(Section::Answer, Owner::At(12), Rtype::A, 300, &[198, 18, 0, 1]));
                let option = [&[0, 10, 0, 16][..], &client, b"serverck"].concat();
                assert!(composer.opt(1232, 0, false, &option));
            });
            let without = answer(query, &[if tcp { 1 } else { 66 }], 300);
            vec![(0, if silent.load(Ordering::SeqCst) { without } else { with })]
        }
    });
    let daemon = Daemon::start(&[&upstream], "");
    assert_eq!(ends(&daemon.ask("a.example")), [1]);
    assert_eq!(ends(&daemon.ask("b.example")), [1]);
    let seen: Vec<Vec<u8>> =
        upstream.seen.lock().expect("no panic").iter().filter_map(|q| cookie(q)).collect();
    assert_eq!((seen[0].len(), seen[1].len()), (8, 16), "the server cookie is sent back");
    assert_eq!(seen[0][..], seen[1][..8]);
    silent.store(true, Ordering::SeqCst);
    assert_eq!(
        ends(&daemon.ask("c.example")),
        [1],
        "a response without the cookie may be forged, so TCP decides"
    );
}
