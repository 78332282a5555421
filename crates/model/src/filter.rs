//! Filters on locations: which sites a deployment may go to.

use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;
use crate::site::Location;

/// What of a location is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LocationField {
    /// City.
    City,
    /// Country.
    Country,
    /// Continent.
    Continent,
    /// Region: the same as the continent's part or the administrative division; either may match.
    Region,
    /// State, province, county.
    AdministrativeDivision,
    /// The site's tags.
    LocationTags,
}

/// How values are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FilterType {
    /// At least one value matches.
    Any,
    /// Every value matches.
    All,
    /// No value matches.
    Not,
}

/// One filter; several are ANDed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LocationFilter {
    /// What is compared.
    pub field: LocationField,
    /// With what; case does not matter.
    pub values: Vec<String>,
    /// How.
    pub filter_type: FilterType,
}

impl LocationField {
    /// Reads a field's name.
    ///
    /// # Errors
    /// Names what is allowed.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Ok(match text.trim().to_ascii_lowercase().as_str() {
            "city" => Self::City,
            "country" => Self::Country,
            "continent" => Self::Continent,
            "region" => Self::Region,
            "administrative_division" => Self::AdministrativeDivision,
            "location_tags" => Self::LocationTags,
            _ => {
                let allowed = "city, country, continent, region, administrative_division, location_tags";
                return Err(Invalid::new("field", format!("must be one of {allowed}")));
            }
        })
    }
}

impl FilterType {
    /// Reads a filter type.
    ///
    /// # Errors
    /// Names what is allowed.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text.trim().to_ascii_lowercase().as_str() {
            "any" => Ok(Self::Any),
            "all" => Ok(Self::All),
            "not" => Ok(Self::Not),
            _ => Err(Invalid::new("filter_type", "must be one of any, all, not")),
        }
    }
}

impl LocationFilter {
    /// Whether `location` with `tags` passes.
    #[must_use]
    pub fn matches(&self, location: &Location, tags: &[String]) -> bool {
        let has = |value: &String| {
            let same = |text: &str| text.trim().to_lowercase() == value.trim().to_lowercase();
            match self.field {
                LocationField::City => same(&location.city),
                LocationField::Country => same(&location.country),
                LocationField::Continent => same(&location.continent),
                LocationField::Region => same(&location.continent) || same(&location.administrative_division),
                LocationField::AdministrativeDivision => same(&location.administrative_division),
                LocationField::LocationTags => tags.iter().any(|t| same(t)),
            }
        };
        match self.filter_type {
            FilterType::Any => self.values.iter().any(has),
            FilterType::All => self.values.iter().all(has),
            FilterType::Not => !self.values.iter().any(has),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(field: LocationField, values: &[&str], filter_type: FilterType) -> LocationFilter {
        LocationFilter { field, values: values.iter().map(|v| (*v).to_owned()).collect(), filter_type }
    }

    #[test]
    fn any_all_and_not_compare_without_case() {
        let lyon = Location { city: "Lyon".into(), country: "France".into(), ..Location::default() };
        let tags = ["edge".to_owned(), "gpu".to_owned()];
        assert!(filter(LocationField::City, &["paris", "LYON"], FilterType::Any).matches(&lyon, &tags));
        assert!(!filter(LocationField::City, &["paris", "lyon"], FilterType::All).matches(&lyon, &tags));
        assert!(filter(LocationField::LocationTags, &["GPU", "edge"], FilterType::All).matches(&lyon, &tags));
        assert!(!filter(LocationField::Country, &["france"], FilterType::Not).matches(&lyon, &tags));
        assert!(filter(LocationField::Country, &["spain"], FilterType::Not).matches(&lyon, &tags));
    }
}
