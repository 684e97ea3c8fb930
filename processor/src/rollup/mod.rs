//! What a rollup is: its definition, and the plan that its SQL is taken apart into.
mod attempt;
mod check;
mod definition;
mod evaluate;
mod events;
mod outputs;
mod plan;
mod steps;

pub use check::Refused;
pub use definition::Definition;
pub use evaluate::Evaluated;
pub use events::Events;
pub(crate) use outputs::Exactness;
pub use outputs::{Merge, state_of};
pub use plan::Plan;
pub(crate) use plan::{OWN_COLUMNS, is_text};
