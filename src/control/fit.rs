//! Shortens a status until it fits into a message. The elements that are left out are counted.

use crate::{MESSAGE_MAX, Status, UpstreamStatus};
use serde::Serialize;

/// Octets of a response around its status.
const AROUND: usize = 64;
/// Lengths to which lists are cut, one after the other until the status fits.
const STEPS: [usize; 5] = [64, 16, 4, 1, 0];
/// Octets to which texts are cut, when shorter lists of domains are not enough.
const TEXT_MAX: usize = 200;

impl Status {
    /// Shortens the status until it fits: first the domains of each upstream, then long texts, then
    /// all lists.
    #[must_use]
    pub fn fitting(mut self) -> Status {
        for most in STEPS {
            if self.fits() {
                return self;
            }
            self.upstreams.iter_mut().for_each(|upstream| upstream.shorten(most));
        }
        if self.fits() {
            return self;
        }
        self.cut_texts();
        let mut problems_more = 0;
        for most in STEPS {
            if self.fits() {
                return self;
            }
            self.upstreams_more += cut(&mut self.upstreams, most);
            self.files_more += cut(&mut self.files, most);
            // The last line counts the problems that were left out before, and is not itself a problem.
            self.problems.pop_if(|_| problems_more > 0);
            problems_more += cut(&mut self.problems, most.max(1));
            if problems_more > 0 {
                self.problems.push(format!("{problems_more} more problems; the log has them"));
            }
            cut(&mut self.listen, most);
            cut(&mut self.sorter.lacks, most);
        }
        self
    }

    fn fits(&self) -> bool {
        fits(self)
    }

    fn cut_texts(&mut self) {
        let upstreams = self.upstreams.iter_mut().flat_map(|upstream| {
            let problem = upstream.tls.as_mut().and_then(|tls| tls.problem.as_mut());
            [Some(&mut upstream.address), Some(&mut upstream.origin), problem].into_iter().flatten()
        });
        let files = self.files.iter_mut().flat_map(|file| [Some(&mut file.path), file.problem.as_mut()]);
        let site = self.site.as_mut().map(|site| &mut site.report).into_iter().flat_map(|report| {
            let words = [&mut report.host, &mut report.engine, &mut report.state, &mut report.group];
            words.into_iter().chain(report.problem.as_mut())
        });
        let lists = [&mut self.problems, &mut self.listen, &mut self.sorter.lacks];
        let texts = upstreams.chain(files.flatten()).chain(site).chain(lists.into_iter().flatten());
        texts.for_each(|text| cut_text(text, TEXT_MAX));
    }
}

impl UpstreamStatus {
    /// Cuts the list to `most` domains and, behind them, the root, which stands for all names
    /// without another upstream.
    pub fn shorten(&mut self, most: usize) {
        let root = self.domains.pop_if(|last| last == ".");
        self.domains_more += cut(&mut self.domains, most);
        self.domains.extend(root);
    }
}

/// Whether what a response holds fits into a message.
pub(crate) fn fits(held: &impl Serialize) -> bool {
    serde_json::to_vec(held).is_ok_and(|octets| octets.len() + AROUND <= MESSAGE_MAX)
}

/// Cuts a list, and returns how many elements were left out.
pub(crate) fn cut<T>(list: &mut Vec<T>, most: usize) -> u64 {
    let more = list.len().saturating_sub(most);
    list.truncate(most);
    more as u64
}

/// Cuts a text to a number of octets, at a character.
pub(crate) fn cut_text(text: &mut String, most: usize) {
    if text.len() > most {
        let end = (0..=most).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or_default());
        text.push_str("...");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FileStatus, Response, SiteReport, SiteStatus, encode};

    fn status(upstreams: usize, domains: usize, origin: usize) -> Status {
        let upstream = UpstreamStatus {
            address: "192.0.2.1:53".to_owned(),
            origin: "x".repeat(origin),
            domains: (0..domains)
                .map(|n| format!("internal-{n}.corporation.example."))
                .chain([".".to_owned()])
                .collect(),
            ..UpstreamStatus::default()
        };
        Status { upstreams: vec![upstream; upstreams], ..Status::default() }
    }

    #[test]
    fn a_status_of_any_size_fits_into_a_message() {
        let small = status(2, 20, 9);
        assert_eq!(small.clone().fitting(), small, "a status that fits stays as it is");
        let shortened = status(64, 300, 30).fitting();
        assert!(encode(&Response::Status(shortened.clone())).is_ok());
        let upstream = &shortened.upstreams[63];
        assert_eq!(
            (shortened.upstreams.len(), upstream.domains.len() as u64 + upstream.domains_more),
            (64, 301)
        );
        assert!(upstream.domains.len() >= 16 && upstream.domains.last().is_some_and(|last| last == "."));

        let mut huge = status(500, 20, 3000);
        let text = "\u{1}\u{20ac}".repeat(3000);
        huge.files =
            vec![
                FileStatus { path: text.clone(), problem: Some(text.clone()), ..FileStatus::default() };
                100
            ];
        huge.problems = vec![text.clone(); 100];
        huge.listen = vec![text.clone(); 100];
        let report =
            SiteReport { problem: Some(text.clone()), engine: text.clone(), ..SiteReport::default() };
        huge.site = Some(Box::new(SiteStatus { report, ..SiteStatus::default() }));
        huge.sorter.lacks = vec![text; 100];
        let shortened = huge.fitting();
        assert!(encode(&Response::Status(shortened.clone())).is_ok());
        assert_eq!(shortened.upstreams.len() as u64 + shortened.upstreams_more, 500);
        assert_eq!(shortened.files.len() as u64 + shortened.files_more, 100);
        assert!(
            shortened.problems.last().is_some_and(|last| last.ends_with("more problems; the log has them"))
        );
    }

    #[test]
    fn every_problem_is_listed_or_counted() {
        for (problems, octets) in [(100, 3000), (1000, 150), (70, 900), (3, 30_000)] {
            let mut status = status(500, 20, 3000);
            // JSON writes each of these characters as six octets.
            status.problems = vec!["\u{1}".repeat(octets); problems];
            let shortened = status.fitting().problems;
            let more =
                shortened.last().and_then(|last| last.strip_suffix(" more problems; the log has them"));
            let more = more.map_or(0, |count| count.parse::<usize>().expect("a number"));
            let listed = shortened.len() - usize::from(more > 0);
            assert_eq!(listed + more, problems, "{listed} are listed of {problems}");
            assert!(
                shortened.iter().rev().skip(1).all(|line| line.starts_with("\u{1}\u{1}")),
                "the count comes last, once"
            );
        }
    }
}
