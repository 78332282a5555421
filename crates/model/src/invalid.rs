//! What is wrong with a value that a user gave.

use std::fmt;

/// One bad value: which field, what is wrong with it, what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Path of the field as the user wrote it, for example `ports[2].protocol`.
    pub field: String,
    /// What is wrong and what is allowed, a sentence without the field's name.
    pub problem: String,
}

impl Invalid {
    /// A bad value in `field`.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }

    /// The same problem, seen from one level further out: `name` in `ports[2]` becomes `ports[2].name`.
    #[must_use]
    pub fn within(mut self, outer: &str) -> Self {
        self.field = if self.field.is_empty() { outer.to_owned() } else { format!("{outer}.{}", self.field) };
        self
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.problem)
    }
}

/// All bad values of one request, so that a user mends them in one go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Invalids(pub Vec<Invalid>);

impl Invalids {
    /// Adds one.
    pub fn push(&mut self, invalid: Invalid) {
        self.0.push(invalid);
    }

    /// Adds one for `field`.
    pub fn add(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.push(Invalid::new(field, problem));
    }

    /// Keeps the value of `result`, or notes its problem under `field`.
    pub fn check<T>(&mut self, field: &str, result: Result<T, Invalid>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(invalid) => {
                self.push(if invalid.field.is_empty() { invalid.within(field) } else { invalid });
                None
            }
        }
    }

    /// `Ok` if nothing was noted.
    ///
    /// # Errors
    /// Itself, if anything was.
    pub fn into_result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl From<Invalid> for Invalids {
    fn from(invalid: Invalid) -> Self {
        Self(vec![invalid])
    }
}

impl fmt::Display for Invalids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, invalid) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            fmt::Display::fmt(invalid, f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Invalids {}
