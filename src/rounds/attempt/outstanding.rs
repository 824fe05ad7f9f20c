//! The outstanding attempts of a round.

use crate::attempt::Attempt;
use crate::ids::AttemptId;
use std::ops::{Deref, DerefMut, Index, IndexMut};

/// The outstanding attempts of one round by id. They are few, so a linear search is fast.
#[derive(Debug, Default)]
pub(crate) struct Attempts(Vec<Attempt>);

impl Attempts {
    pub fn get(&self, id: AttemptId) -> Option<&Attempt> {
        self.0.iter().find(|attempt| attempt.id == id)
    }

    pub fn get_mut(&mut self, id: AttemptId) -> Option<&mut Attempt> {
        self.0.iter_mut().find(|attempt| attempt.id == id)
    }

    pub fn push(&mut self, attempt: Attempt) {
        self.0.push(attempt);
    }

    /// Takes an attempt out.
    ///
    /// # Panics
    /// If the attempt is not outstanding. Callers have just found it.
    pub fn remove(&mut self, id: AttemptId) -> Attempt {
        let at = self.0.iter().position(|attempt| attempt.id == id).expect("an open attempt");
        self.0.swap_remove(at)
    }

    pub fn drain(&mut self) -> impl Iterator<Item = Attempt> {
        self.0.drain(..)
    }

    /// Drops all attempts and keeps memory for at most `most`.
    pub fn empty(&mut self, most: usize) {
        self.0.clear();
        self.0.shrink_to(most);
    }
}

impl Deref for Attempts {
    type Target = [Attempt];

    fn deref(&self) -> &[Attempt] {
        &self.0
    }
}

impl DerefMut for Attempts {
    fn deref_mut(&mut self) -> &mut [Attempt] {
        &mut self.0
    }
}

impl Index<AttemptId> for Attempts {
    type Output = Attempt;

    fn index(&self, id: AttemptId) -> &Attempt {
        self.get(id).expect("an open attempt")
    }
}

impl IndexMut<AttemptId> for Attempts {
    fn index_mut(&mut self, id: AttemptId) -> &mut Attempt {
        self.get_mut(id).expect("an open attempt")
    }
}
