//! Tokens, and how messages describe them.

use super::literal::quote_shortened;
use super::ops::{AggregateOp, BinaryOp};
use super::span::Span;

/// A piece of the query text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) span: Span,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// Nothing more can be read: behind [`Eof`](Self::Eof), or at text that is no token.
    Stop,
    Eof,
    Identifier,
    /// An identifier with a colon.
    MetricIdentifier,
    Number,
    Duration,
    String,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    /// `=`, `=~` and `!~` of label matchers; `!=` is [`Op`](Self::Op).
    Assign,
    MatchRegex,
    MatchNotRegex,
    At,
    Op(BinaryOp),
    Aggregate(AggregateOp),
    Keyword(Keyword),
    QueryWord(QueryWord),
    Series(SeriesToken),
}

/// Words with a grammatical role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    Anchored,
    Bool,
    By,
    Fill,
    FillLeft,
    FillRight,
    GroupLeft,
    GroupRight,
    Ignoring,
    Offset,
    On,
    Smoothed,
    Without,
}

/// Words that name a property of the query; they are functions as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueryWord {
    Start,
    End,
    Step,
    Range,
    MaxOf,
    MinOf,
}

/// Tokens that only series descriptions have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SeriesToken {
    Space,
    Blank,
    Times,
    OpenHistogram,
    CloseHistogram,
    Key(HistogramKey),
    Hint(HintWord),
}

/// The fields of a histogram description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HistogramKey {
    Sum,
    Count,
    Schema,
    Offset,
    NegativeOffset,
    Buckets,
    NegativeBuckets,
    ZeroBucket,
    ZeroBucketWidth,
    CustomValues,
    CounterResetHint,
}

/// The values of a counter reset hint in a histogram description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HintWord {
    Unknown,
    Reset,
    NotReset,
    Gauge,
}

/// Returns the token kind of a word without colon, in any mix of upper and lower case.
pub(super) fn word_kind(word: &str) -> TokenKind {
    // The longest keyword is `count_values`.
    let mut buffer = [0; 12];
    let Some(lower) = buffer.get_mut(..word.len()) else {
        return TokenKind::Identifier;
    };
    lower.copy_from_slice(word.as_bytes());
    lower.make_ascii_lowercase();
    keyword_kind(lower).unwrap_or(TokenKind::Identifier)
}

fn keyword_kind(lower: &[u8]) -> Option<TokenKind> {
    use TokenKind::{Aggregate, Keyword as Word, Op, QueryWord as Query};
    Some(match lower {
        b"and" => Op(BinaryOp::And),
        b"or" => Op(BinaryOp::Or),
        b"unless" => Op(BinaryOp::Unless),
        b"atan2" => Op(BinaryOp::Atan2),
        b"sum" => Aggregate(AggregateOp::Sum),
        b"avg" => Aggregate(AggregateOp::Avg),
        b"count" => Aggregate(AggregateOp::Count),
        b"min" => Aggregate(AggregateOp::Min),
        b"max" => Aggregate(AggregateOp::Max),
        b"group" => Aggregate(AggregateOp::Group),
        b"stddev" => Aggregate(AggregateOp::Stddev),
        b"stdvar" => Aggregate(AggregateOp::Stdvar),
        b"topk" => Aggregate(AggregateOp::TopK),
        b"bottomk" => Aggregate(AggregateOp::BottomK),
        b"count_values" => Aggregate(AggregateOp::CountValues),
        b"quantile" => Aggregate(AggregateOp::Quantile),
        b"limitk" => Aggregate(AggregateOp::LimitK),
        b"limit_ratio" => Aggregate(AggregateOp::LimitRatio),
        b"offset" => Word(Keyword::Offset),
        b"smoothed" => Word(Keyword::Smoothed),
        b"anchored" => Word(Keyword::Anchored),
        b"by" => Word(Keyword::By),
        b"without" => Word(Keyword::Without),
        b"on" => Word(Keyword::On),
        b"ignoring" => Word(Keyword::Ignoring),
        b"group_left" => Word(Keyword::GroupLeft),
        b"group_right" => Word(Keyword::GroupRight),
        b"fill" => Word(Keyword::Fill),
        b"fill_left" => Word(Keyword::FillLeft),
        b"fill_right" => Word(Keyword::FillRight),
        b"bool" => Word(Keyword::Bool),
        b"start" => Query(QueryWord::Start),
        b"end" => Query(QueryWord::End),
        b"inf" | b"nan" => TokenKind::Number,
        _ => Query(duration_word(lower)?),
    })
}

/// Returns the query word that may stand in a duration expression, given in lower case.
pub(super) fn duration_word(lower: &[u8]) -> Option<QueryWord> {
    Some(match lower {
        b"step" => QueryWord::Step,
        b"range" => QueryWord::Range,
        b"max_of" => QueryWord::MaxOf,
        b"min_of" => QueryWord::MinOf,
        _ => return None,
    })
}

impl TokenKind {
    /// Reports whether the token can be a metric name.
    pub(super) fn is_metric_name(self) -> bool {
        match self {
            Self::Identifier | Self::MetricIdentifier | Self::Aggregate(_) | Self::QueryWord(_) => {
                true
            }
            Self::Op(op) => op.is_set(),
            Self::Keyword(word) => matches!(
                word,
                Keyword::Anchored
                    | Keyword::By
                    | Keyword::Fill
                    | Keyword::FillLeft
                    | Keyword::FillRight
                    | Keyword::Offset
                    | Keyword::Smoothed
                    | Keyword::Without
            ),
            _ => false,
        }
    }

    /// Reports whether the token can be a label name in `by (...)` and the like.
    pub(super) fn is_label_name(self) -> bool {
        match self {
            Self::Identifier | Self::MetricIdentifier | Self::Aggregate(_) | Self::QueryWord(_) => {
                true
            }
            Self::Op(op) => op.is_set() || op == BinaryOp::Atan2,
            // COMPAT: every keyword but `without` (Prometheus generated_parser.y, maybe_label).
            Self::Keyword(word) => word != Keyword::Without,
            _ => false,
        }
    }

    /// Reports whether an expression can start with the token.
    pub(super) fn starts_expression(self) -> bool {
        self.is_metric_name()
            || matches!(
                self,
                Self::Number
                    | Self::Duration
                    | Self::String
                    | Self::LeftParen
                    | Self::LeftBrace
                    | Self::Op(BinaryOp::Add | BinaryOp::Sub)
            )
    }

    /// Reports whether the token can be the last one of an expression, for ranges of error messages.
    pub(super) fn is_closing(self) -> bool {
        matches!(
            self,
            Self::RightBrace
                | Self::RightParen
                | Self::RightBracket
                | Self::Duration
                | Self::Number
        )
    }

    /// Describes a token of this kind with the given text, in Prometheus' words.
    pub(super) fn describe(self, text: &str) -> String {
        match self {
            Self::Stop => String::new(),
            Self::Eof => "end of input".to_owned(),
            Self::Identifier => format!("identifier {}", super::literal::quote(text)),
            Self::MetricIdentifier => {
                format!("metric identifier {}", super::literal::quote(text))
            }
            Self::Number => format!("number {}", quote_shortened(text)),
            Self::Duration => format!("duration {}", quote_shortened(text)),
            Self::String => format!("string {}", quote_shortened(text)),
            Self::Keyword(_) => format!("<{text}>"),
            Self::Op(_) | Self::At | Self::MatchRegex | Self::MatchNotRegex => {
                format!("<op:{text}>")
            }
            Self::Aggregate(_) => format!("<aggr:{text}>"),
            Self::Series(SeriesToken::Key(key)) => {
                format!("\"<Item {}>\" {}", key.item_number(), quote_shortened(text))
            }
            Self::Series(SeriesToken::Hint(word)) => {
                format!(
                    "\"<Item {}>\" {}",
                    word.item_number(),
                    quote_shortened(text)
                )
            }
            Self::LeftParen
            | Self::RightParen
            | Self::LeftBrace
            | Self::RightBrace
            | Self::LeftBracket
            | Self::RightBracket
            | Self::Comma
            | Self::Colon
            | Self::Assign
            | Self::QueryWord(_)
            | Self::Series(
                SeriesToken::Space
                | SeriesToken::Blank
                | SeriesToken::Times
                | SeriesToken::OpenHistogram
                | SeriesToken::CloseHistogram,
            ) => quote_shortened(text),
        }
    }
}

impl HistogramKey {
    /// COMPAT: messages of Prometheus show these tokens by their number in the generated parser.
    fn item_number(self) -> u32 {
        57_370 + self as u32
    }
}

impl HintWord {
    /// COMPAT: as [`HistogramKey::item_number`].
    fn item_number(self) -> u32 {
        57_445 + self as u32
    }
}
