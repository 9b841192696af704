//! What only the operator can mend: [`Fault`].
//!
//! A fault is never about a peer or a message (those are a `Reply` and an `Outcome`).

use std::error::Error;
use std::fmt;

/// Something of ours failed: what, why, and what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// What was being done and where: "listening on 0.0.0.0:25".
    pub doing: String,
    /// Why it failed.
    pub cause: String,
    /// What to do, often a command; empty when we do not know.
    pub fix: String,
}

impl Fault {
    /// A fault without advice.
    #[must_use]
    pub fn new(doing: impl Into<String>, cause: impl fmt::Display) -> Self {
        Fault {
            doing: doing.into(),
            cause: cause.to_string(),
            fix: String::new(),
        }
    }

    /// The same fault with advice.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = fix.into();
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {} failed: {}", self.doing, self.cause)?;
        if !self.fix.is_empty() {
            write!(f, "\n  fix: {}", self.fix)?;
        }
        Ok(())
    }
}

impl Error for Fault {}

#[cfg(test)]
mod tests {
    use super::Fault;

    #[test]
    fn a_fault_says_what_why_and_what_to_do() {
        let fault = Fault::new("listening on 127.0.0.1:25", "address in use").fix("stop the other");
        assert_eq!(
            fault.to_string(),
            "error: listening on 127.0.0.1:25 failed: address in use\n  fix: stop the other"
        );
    }
}
