//! The list query: which deployments, in which order. `api` reads it from JSON, `store` compiles it to SQL.

use crate::ids::DeploymentId;
use crate::names::AppName;
use crate::time::Timestamp;

/// A condition on one field; all of a query's conditions must hold.
#[derive(Clone, PartialEq, Debug)]
pub enum Condition {
    /// The status is (`true`) or is not (`false`) this word.
    Status(crate::Status, bool),
    /// The id is (not) one of these.
    Id(Vec<DeploymentId>, bool),
    /// It has (does not have) one of these tags.
    Tags(Vec<String>, bool),
    /// The application is (not) one of these.
    Application(TextMatch),
    /// The version is (not) one of these.
    Version(TextMatch),
    /// The fleet that it was made by, or else the private fleet of its host.
    Fleet(TextMatch),
    /// Its host.
    Host(TextMatch),
    /// When it was asked for.
    CreatedAt(Ordering, Timestamp),
    /// Whether sessions may join.
    Joinable(bool),
    /// Free sockets; deployments without sessions have none and never match.
    AvailableSockets(Ordering, i64),
}

/// How a text is compared.
#[derive(Clone, PartialEq, Debug)]
pub enum TextMatch {
    /// One of these.
    In(Vec<String>),
    /// None of these.
    NotIn(Vec<String>),
    /// Matches the pattern without regard to case; `%` stands for any run of characters.
    Like(String),
}

/// How a number or a time is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ordering {
    /// Equal.
    Eq,
    /// Not equal.
    Neq,
    /// Less.
    Lt,
    /// Less or equal.
    Lte,
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
}

/// By what a list is sorted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SortField {
    /// When it was asked for.
    CreatedAt,
    /// Free sockets.
    AvailableSockets,
}

/// Which deployments, in which order. Terminated ones are never listed.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ListQuery {
    /// All must hold.
    pub conditions: Vec<Condition>,
    /// Sort keys, the first most important; `true` = descending. Empty = newest first.
    pub order_by: Vec<(SortField, bool)>,
    /// Only these applications (from the token); empty = all.
    pub apps: Vec<AppName>,
}

/// Which page of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page {
    /// From 1.
    pub number: u32,
    /// Items a page, 1 to 100.
    pub limit: u32,
}

/// One page of a list, and how many items all pages have.
#[derive(Clone, PartialEq, Debug)]
pub struct Paged<T> {
    /// The items of this page.
    pub items: Vec<T>,
    /// Items on all pages.
    pub total: u64,
    /// The page that was asked for.
    pub page: Page,
}

impl<T> Paged<T> {
    /// The same page with each item turned into another.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Paged<U> {
        Paged { items: self.items.into_iter().map(f).collect(), total: self.total, page: self.page }
    }
}
