//! From a text of GraphQL to tokens. Comments are left out.

/// The kinds of tokens, as error messages name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Invalid,
    Eof,
    /// `{` and others of one character.
    Sign(char),
    Spread,
    Name,
    Int,
    Float,
    String,
    BlockString,
}

impl Kind {
    pub(super) fn shown(self) -> String {
        match self {
            Kind::Invalid => "<Invalid>".to_owned(),
            Kind::Eof => "<EOF>".to_owned(),
            Kind::Sign(sign) => sign.to_string(),
            Kind::Spread => "...".to_owned(),
            other => format!("{other:?}"),
        }
    }
}

/// A token, its value, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) value: String,
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Token {
    /// The token as error messages show it.
    pub(super) fn shown(&self) -> String {
        match self.value.as_str() {
            "" => self.kind.shown(),
            value => format!("{} {value:?}", self.kind.shown()),
        }
    }
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    column: usize,
}

/// All tokens; the last one is the end, or invalid.
pub(super) fn lex(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: text, line: 1, column: 1 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blanks();
        let (line, mut column) = (lexer.line, lexer.column);
        let (kind, value) = lexer.token();
        // The position of a text is that of its first character.
        match kind {
            Kind::String => column += 1,
            Kind::BlockString => column += 3,
            _ => {}
        }
        tokens.push(Token { kind, value, line, column });
        if matches!(kind, Kind::Eof | Kind::Invalid) {
            return tokens;
        }
    }
}

impl<'a> Lexer<'a> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = self.rest.get(c.len_utf8()..).unwrap_or_default();
        if c == '\n' || c == '\r' && self.peek() != Some('\n') {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        Some(c)
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = self.rest.starts_with(text);
        if found {
            for _ in text.chars() {
                self.next();
            }
        }
        found
    }

    fn take(&mut self, of: impl Fn(char) -> bool) -> &'a str {
        let (before, mut length) = (self.rest, 0);
        while let Some(c) = self.peek().filter(|c| of(*c)) {
            length += c.len_utf8();
            self.next();
        }
        before.get(..length).unwrap_or_default()
    }

    fn skip_blanks(&mut self) {
        loop {
            self.take(|c| matches!(c, ' ' | '\t' | ',' | '\n' | '\r' | '\u{feff}'));
            if self.peek() != Some('#') {
                return;
            }
            self.take(|c| c == '\t' || c >= ' ');
        }
    }

    fn token(&mut self) -> (Kind, String) {
        let Some(first) = self.peek() else { return (Kind::Eof, String::new()) };
        match first {
            '!' | '$' | '&' | '(' | ')' | ':' | '=' | '@' | '[' | ']' | '{' | '}' | '|' => {
                self.next();
                (Kind::Sign(first), String::new())
            }
            '.' if self.eat("...") => (Kind::Spread, String::new()),
            '_' | 'a'..='z' | 'A'..='Z' => {
                (Kind::Name, self.take(|c| c.is_ascii_alphanumeric() || c == '_').to_owned())
            }
            '-' | '0'..='9' => self.number(),
            '"' if self.eat("\"\"\"") => self.block(),
            '"' => self.string().map_or((Kind::Invalid, String::new()), |text| (Kind::String, text)),
            _ => (Kind::Invalid, String::new()),
        }
    }

    fn number(&mut self) -> (Kind, String) {
        let before = self.rest;
        let digit = |c: char| c.is_ascii_digit();
        self.eat("-");
        let whole = self.take(digit);
        let mut valid = !whole.is_empty() && (whole.len() == 1 || !whole.starts_with('0'));
        let mut kind = Kind::Int;
        if self.eat(".") {
            kind = Kind::Float;
            valid &= !self.take(digit).is_empty();
        }
        if self.eat("e") || self.eat("E") {
            kind = Kind::Float;
            let _ = self.eat("+") || self.eat("-");
            valid &= !self.take(digit).is_empty();
        }
        let text = before.get(..before.len() - self.rest.len()).unwrap_or_default();
        if valid { (kind, text.to_owned()) } else { (Kind::Invalid, String::new()) }
    }

    fn string(&mut self) -> Option<String> {
        self.next();
        let mut value = String::new();
        loop {
            match self.next()? {
                '"' => return Some(value),
                '\\' => value.push(self.escape()?),
                c if c < ' ' && c != '\t' => return None,
                c => value.push(c),
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        Some(match self.next()? {
            c @ ('"' | '\\' | '/') => c,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' if self.eat("{") => {
                let digits = self.take(|c| c.is_ascii_hexdigit());
                let code = u32::from_str_radix(digits, 16).ok().filter(|_| digits.len() <= 8)?;
                if !self.eat("}") {
                    return None;
                }
                char::from_u32(code)?
            }
            'u' => {
                let digits: String = (0..4).map_while(|_| self.next()).collect();
                char::from_u32(u32::from_str_radix(&digits, 16).ok()?).unwrap_or('\u{fffd}')
            }
            _ => return None,
        })
    }

    fn block(&mut self) -> (Kind, String) {
        let mut raw = String::new();
        loop {
            if self.eat("\"\"\"") {
                return (Kind::BlockString, dedented(&raw));
            }
            if self.eat("\\\"\"\"") {
                raw.push_str("\"\"\"");
                continue;
            }
            match self.next() {
                Some('\r') if self.peek() == Some('\n') => {}
                Some('\r') => raw.push('\n'),
                Some(c) if c >= ' ' || matches!(c, '\t' | '\n') => raw.push(c),
                _ => return (Kind::Invalid, String::new()),
            }
        }
    }
}

/// The value of a block text: without the indentation that its lines have in common, and without blank lines around.
fn dedented(raw: &str) -> String {
    let indent = |line: &str| line.find(|c| c != ' ' && c != '\t');
    let common = raw.split('\n').filter_map(indent).min().unwrap_or(0);
    let cut = |(number, line): (usize, &'_ str)| match number {
        0 => line.to_owned(),
        _ => line.get(common..).unwrap_or_default().to_owned(),
    };
    let lines: Vec<String> = raw.split('\n').enumerate().map(cut).collect();
    let first = lines.iter().position(|line| indent(line).is_some()).unwrap_or(lines.len());
    let last = lines.iter().rposition(|line| indent(line).is_some()).map_or(first, |last| last + 1);
    lines.get(first..last).unwrap_or_default().join("\n")
}
