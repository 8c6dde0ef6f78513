//! How a store comes by an answer, for whoever asks: the statements that one call sends to
//! PostgreSQL, and the plan for each.
//!
//! Asked for by one task for what it does itself (`explained`), so that nothing is on the way of any
//! other call but a look whether there is such a wish. Statements are told with placeholders. A plan
//! shows what was asked with: it is for the one who asked.

use std::cell::RefCell;
use std::future::Future;

/// One statement, and how PostgreSQL would carry it out.
#[derive(Clone, Debug)]
pub struct Statement {
    pub text: String,
    pub plan: Vec<String>,
}

tokio::task_local! {
    static TOLD: RefCell<Vec<Statement>>;
}

/// Does the work, and has the statements that it came to.
///
/// Cancel safety: that of the work.
pub async fn explained<T>(work: impl Future<Output = T>) -> (T, Vec<Statement>) {
    let work = async {
        let done = work.await;
        (done, TOLD.with(RefCell::take))
    };
    TOLD.scope(RefCell::default(), work).await
}

/// Whether the plans of what this task asks are wanted.
pub(super) fn is_wanted() -> bool {
    TOLD.try_with(|_| ()).is_ok()
}

pub(super) fn tell(statement: Statement) {
    // Nobody asked: nobody is told.
    let _nobody_asked = TOLD.try_with(|told| told.borrow_mut().push(statement));
}
