//! The tasks of a plan.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use tera::Context;

use super::{ComposeError, Composer, contexts};
use crate::contract::expression::Expressions;
use crate::contract::{
    Contract, PostgresqlCluster as ClusterSection, PostgresqlContents as ContentsSection,
    S3Buckets as S3BucketsSection, Task as TaskSection,
};
use crate::plan::{
    Bucket, OnPartial, PostgresqlCluster, PostgresqlContents, PostgresqlDatabase, PostgresqlRole, Reconcile, S3Buckets,
    Task,
};
use crate::value::{parse_port, split_words};

const PART: &str = "a task";
/// A task whose contract names no time has this long.
const USUAL_TIMEOUT: Duration = Duration::from_secs(300);

impl Composer {
    pub(super) fn tasks(&self, contract: &Contract) -> Result<Vec<Task>, ComposeError> {
        let mut tasks = Vec::new();
        for section in &contract.tasks {
            for context in self.contexts(PART, section.when.as_ref(), None)? {
                tasks.push(self.task(section, &context)?);
            }
        }
        Ok(tasks)
    }

    fn task(&self, section: &TaskSection, context: &Context) -> Result<Task, ComposeError> {
        let timeout = section.timeout.as_ref().map(|text| self.duration(PART, text, context)).transpose()?;
        let timeout = timeout.unwrap_or(USUAL_TIMEOUT);
        match (&section.s3_buckets, &section.postgresql_cluster, &section.postgresql_contents) {
            (Some(buckets), None, None) => Ok(Task::S3Buckets(self.s3_buckets(buckets, timeout, context)?)),
            (None, Some(cluster), None) => {
                Ok(Task::PostgresqlCluster(self.postgresql_cluster(cluster, timeout, context)?))
            }
            (None, None, Some(contents)) => {
                Ok(Task::PostgresqlContents(self.postgresql_contents(contents, timeout, context)?))
            }
            _ => Err(ComposeError::mistake(PART, "it must name exactly one task")),
        }
    }

    fn s3_buckets(
        &self,
        section: &S3BucketsSection,
        timeout: Duration,
        context: &Context,
    ) -> Result<S3Buckets, ComposeError> {
        let names = self.text(PART, &section.buckets, context)?;
        Ok(S3Buckets {
            server: self.s3(PART, &section.server, context)?,
            quorum: self.request(PART, &section.quorum, context)?,
            buckets: self.buckets(&section.buckets, &names)?,
            timeout,
        })
    }

    fn postgresql_cluster(
        &self,
        section: &ClusterSection,
        timeout: Duration,
        context: &Context,
    ) -> Result<PostgresqlCluster, ComposeError> {
        let text = |expression: &String| self.text(PART, expression, context);
        let path = |expression: &String| text(expression).map(PathBuf::from);
        let words = split_words(&text(&section.initdb)?);
        Ok(PostgresqlCluster {
            data: path(&section.data)?,
            folder: path(&section.folder)?,
            names: path(&section.names)?,
            initdb: words.ok_or_else(|| ComposeError::mistake(PART, "the words for initdb have an open quote"))?,
            init_scripts: path(&section.init_scripts)?,
            on_partial: choice(
                &text(&section.on_partial)?,
                &[("resume", OnPartial::Resume), ("fail", OnPartial::Fail), ("wipe", OnPartial::Wipe)],
            )?,
            beside_data: self.flag(PART, &section.beside_data, context)?,
            contents: self.postgresql_contents(&section.contents, timeout, context)?,
        })
    }

    fn postgresql_contents(
        &self,
        section: &ContentsSection,
        timeout: Duration,
        context: &Context,
    ) -> Result<PostgresqlContents, ComposeError> {
        let text = |expression: &String| self.text(PART, expression, context);
        let port = text(&section.port)?;
        Ok(PostgresqlContents {
            socket: text(&section.socket)?.into(),
            port: parse_port(&port).ok_or_else(|| ComposeError::mistake(PART, format!("{port:?} is not a port")))?,
            superuser: text(&section.superuser)?,
            password: self.optional(PART, Some(&section.password), context)?,
            roles: self.roles(section, context)?,
            databases: self.databases(section, context)?,
            database: text(&section.database)?,
            start_scripts: text(&section.start_scripts)?.into(),
            script_environment: self.script_environment(section, context)?,
            reconcile: choice(
                &text(&section.reconcile)?,
                &[("on", Reconcile::On), ("dry-run", Reconcile::DryRun), ("off", Reconcile::Off)],
            )?,
            timeout,
        })
    }

    /// One role of each name: the first that has a password counts.
    fn roles(&self, section: &ContentsSection, context: &Context) -> Result<Vec<PostgresqlRole>, ComposeError> {
        let mut roles: Vec<PostgresqlRole> = Vec::new();
        for role in &section.roles {
            for context in self.contexts_of(role.when.as_ref(), role.each.as_ref(), context)? {
                let name = self.text(PART, &role.name, &context)?;
                let password = self.optional(PART, Some(&role.password), &context)?;
                let replication = self.flag(PART, &role.replication, &context)?;
                match roles.iter_mut().find(|earlier| earlier.name == name) {
                    Some(earlier) => {
                        earlier.password = earlier.password.take().or(password);
                        earlier.replication |= replication;
                    }
                    None => roles.push(PostgresqlRole { name, password, replication }),
                }
            }
        }
        Ok(roles)
    }

    /// One database of each name: the first owner counts, and the extensions of all.
    fn databases(&self, section: &ContentsSection, context: &Context) -> Result<Vec<PostgresqlDatabase>, ComposeError> {
        let mut databases: Vec<PostgresqlDatabase> = Vec::new();
        for database in &section.databases {
            for context in self.contexts_of(database.when.as_ref(), database.each.as_ref(), context)? {
                let name = self.text(PART, &database.name, &context)?;
                let owner = self.optional(PART, Some(&database.owner), &context)?;
                let extensions = self.text(PART, &database.extensions, &context)?;
                let extensions = extensions.split([',', ' ']).filter(|name| !name.is_empty()).map(str::to_owned);
                match databases.iter_mut().find(|earlier| earlier.name == name) {
                    Some(earlier) => {
                        earlier.owner = earlier.owner.take().or(owner);
                        earlier.extensions.extend(extensions);
                    }
                    None => databases.push(PostgresqlDatabase { name, owner, extensions: extensions.collect() }),
                }
            }
        }
        Ok(databases)
    }

    fn contexts_of(
        &self,
        when: Option<&String>,
        each: Option<&String>,
        context: &Context,
    ) -> Result<Vec<Context>, ComposeError> {
        contexts(&self.expressions, context, when, each).map_err(|reason| ComposeError::mistake(PART, reason))
    }

    fn script_environment(
        &self,
        section: &ContentsSection,
        context: &Context,
    ) -> Result<Vec<(OsString, OsString)>, ComposeError> {
        let mut environment = Vec::new();
        for (name, expression) in &section.script_environment {
            let value = self.text(PART, expression, context)?;
            if !value.is_empty() {
                environment.push((name.into(), value.into()));
            }
        }
        Ok(environment)
    }

    fn buckets(&self, expression: &str, names: &str) -> Result<Vec<Bucket>, ComposeError> {
        crate::plan::buckets::parse_buckets(names).map_err(|reason| {
            let (what, accepted) = reason.split_once('\n').unwrap_or((&reason, "each bucket once, with one policy"));
            let key = Expressions::default().variables(expression).unwrap_or_default().into_iter().next();
            ComposeError {
                part: "the list of buckets",
                reason: format!("cannot be made: {what}"),
                status: crate::exit::CONTRACT,
                blamed: key.map(|key| (key, accepted.to_owned())),
            }
        })
    }
}

fn choice<T: Copy>(word: &str, choices: &[(&str, T)]) -> Result<T, ComposeError> {
    let chosen = choices.iter().find(|(name, _)| *name == word);
    let names = || choices.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    chosen
        .map(|(_, choice)| *choice)
        .ok_or_else(|| ComposeError::mistake(PART, format!("{word:?} is not one of {}", names())))
}
