//! The flags that say what a command may take of the machine.

use clap::Args;

use super::values::memory;

/// What a command may take of the machine.
#[derive(Debug, Args)]
pub(crate) struct BudgetArgs {
    /// Memory for manifests, downloads in flight and ztocs [default: three fifths of what there is]
    #[arg(long, value_name = "BYTES", value_parser = memory)]
    pub(crate) memory: Option<u64>,
    /// Layers worked on at once; cores that none of them keeps busy help with a large one [default: the number of cores]
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<std::num::NonZeroUsize>,
}
