//! The differences between the two databases that a statement has to know. Everything else is one text for both; types
//! and generated numbers differ in the migrations alone.

/// Which database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// SQLite: one process, one writer.
    Sqlite,
    /// PostgreSQL: several control planes may share it.
    Postgres,
}

impl Dialect {
    /// Its name, also that of its migration folder.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }

    /// Whether other control planes may work on the same rows, so that rows are claimed by a lease before they are
    /// worked on. (The lease saves work; correctness comes from compare-and-swap.)
    #[must_use]
    pub const fn is_shared(self) -> bool {
        matches!(self, Self::Postgres)
    }
}
