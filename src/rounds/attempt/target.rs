//! Targets of attempts: the round's own name, or the target of a CNAME that is chased.

use crate::complete_answer::ChainSoFar;
use crate::question::Question;
use hither_table::Link;
use hither_wire::name::Name;
use std::rc::Rc;

/// The name that an attempt asks for: the round's own, or the target of a CNAME.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    question: Rc<Question>,
    chase: Option<Rc<Chase>>,
}

#[derive(Debug)]
struct Chase {
    name: Name,
    /// The CNAMEs that lead to the name.
    prefix: Vec<Link>,
    /// The records of those CNAMEs, for a complete answer.
    before: ChainSoFar,
    /// When the first of those CNAMEs expires, in milliseconds.
    expire_ms: u64,
    leg: u8,
}

impl Target {
    pub fn of(question: Rc<Question>) -> Target {
        Target { question, chase: None }
    }

    /// The target `name` of `prefix`, which has all CNAMEs from the round's own name on.
    pub fn chased(&self, name: Name, prefix: Vec<Link>, before: ChainSoFar) -> Target {
        let expire_ms = prefix.iter().map(|link| link.expire_ms).min().unwrap_or(u64::MAX);
        let chase = Chase { name, prefix, before, expire_ms, leg: self.leg() + 1 };
        Target { question: Rc::clone(&self.question), chase: Some(Rc::new(chase)) }
    }

    pub fn name(&self) -> &Name {
        self.chase.as_ref().map_or(&self.question.name, |chase| &chase.name)
    }

    /// The CNAMEs that lead to the name.
    pub fn prefix(&self) -> &[Link] {
        self.chase.as_ref().map_or(&[], |chase| &chase.prefix)
    }

    /// The records of those CNAMEs.
    pub fn before(&self) -> Option<&ChainSoFar> {
        self.chase.as_ref().map(|chase| &chase.before)
    }

    /// When the first of those CNAMEs expires, in milliseconds. An answer behind them expires no later.
    pub fn expire_ms(&self) -> u64 {
        self.chase.as_ref().map_or(u64::MAX, |chase| chase.expire_ms)
    }

    /// The number of chases that led to the name; 0 for the round's own name.
    pub fn leg(&self) -> u8 {
        self.chase.as_ref().map_or(0, |chase| chase.leg)
    }
}
