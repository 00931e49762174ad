//! The filter Lambda: the file `bootstrap` of a function with the runtime provided.al2023. In the container image the same
//! function is `soci-index-builder` under the name `filter-lambda`.

use std::process::ExitCode;

fn main() -> ExitCode {
    soci_filter_lambda::run()
}
