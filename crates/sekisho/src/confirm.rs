//! Asking a person before something that cannot be taken back.

use std::io::{BufRead, IsTerminal, Write};

use crate::exit::{Exit, Failure};
use crate::output;

/// What is asked, and what has not happened yet.
pub(crate) struct Question<'a> {
    /// What will happen, in whole lines.
    pub shown: &'a str,
    /// The text before the word, with a space at its end.
    pub prompt: &'a str,
    /// What a person types to go on.
    pub word: &'a str,
    /// For example `nothing was revoked`.
    pub otherwise: &'a str,
    /// How a script confirms.
    pub verb: &'a str,
}

impl Question<'_> {
    /// Shows what will happen and asks, unless `yes` was given.
    pub(crate) fn ask(&self, yes: bool) -> Result<(), Failure> {
        let is_terminal = !output::is_for_program() && std::io::stdin().is_terminal();
        self.ask_on(yes, is_terminal, &mut output::Stderr, &mut std::io::stdin().lock())
    }

    fn ask_on(
        &self,
        yes: bool,
        is_terminal: bool,
        out: &mut impl Write,
        answers: &mut impl BufRead,
    ) -> Result<(), Failure> {
        let Self { shown, prompt, word, otherwise, verb } = self;
        let _unread = write!(out, "{shown}");
        if yes {
            return Ok(());
        }
        if !is_terminal {
            let said = format!("{otherwise}: {verb} it on a terminal, or see `--help` for scripts");
            return Err(Failure::new(Exit::Usage, said));
        }
        let _unread = write!(out, "{prompt}Type `{word}` to go on: ");
        let mut answer = String::new();
        answers.read_line(&mut answer).map_err(Failure::failed)?;
        if answer.trim() == *word { Ok(()) } else { Err(Failure::new(Exit::Denied, *otherwise)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(yes: bool, is_terminal: bool, answer: &str) -> (Option<Exit>, String) {
        let question = Question {
            shown: "cuts off: all\n",
            prompt: "",
            word: "revoke",
            otherwise: "nothing was revoked",
            verb: "confirm",
        };
        let mut out = vec![];
        let failed = question.ask_on(yes, is_terminal, &mut out, &mut answer.as_bytes()).err();
        (failed.map(|failure| failure.exit), String::from_utf8(out).unwrap())
    }

    #[test]
    fn only_the_word_or_yes_confirms() {
        assert_eq!(asked(true, false, ""), (None, "cuts off: all\n".to_owned()));
        assert_eq!(asked(false, true, "revoke\n").0, None);
        for answer in ["", "yes\n", "revoke it\n"] {
            assert_eq!(asked(false, true, answer).0, Some(Exit::Denied), "{answer:?}");
        }
        assert_eq!(asked(false, false, "revoke\n").0, Some(Exit::Usage));
    }
}
