//! Which hosts a region's token is for.

use soci_push::event::{AccountId, Region};

/// The two parts of an ECR registry's host behind the account that the host begins with:
/// `dkr.ecr.eu-west-1.amazonaws.com` has the region `eu-west-1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EcrHost<'a> {
    /// What follows the account.
    rest: &'a str,
    /// The region.
    pub(super) region: Region,
    /// Whether the host is one of those that AWS documents for the region.
    documented: bool,
}

impl<'a> EcrHost<'a> {
    /// Reads a host of the form `<account>.dkr.ecr.<region>.<domain>`, or one with FIPS
    /// cryptography or both versions of IP ("Amazon ECR endpoints and quotas" in the AWS general
    /// reference). `None` for all others, and for any with a port.
    pub(super) fn parse(host: &'a str) -> Option<Self> {
        let (account, rest) = host.split_once('.')?;
        account.parse::<AccountId>().ok()?;
        let (dual_stack, behind) = [
            ("dkr.ecr.", false),
            ("dkr.ecr-fips.", false),
            ("dkr-ecr.", true),
            ("dkr-ecr-fips.", true),
        ]
        .into_iter()
        .find_map(|(service, dual)| Some((dual, rest.strip_prefix(service)?)))?;
        let (region, domain) = behind.split_once('.')?;
        let region: Region = region.parse().ok()?;
        let expected = match (dual_stack, region.dns_suffix()) {
            (false, suffix) => suffix,
            (true, "amazonaws.com") => "on.aws",
            (true, "amazonaws.com.cn") => "on.amazonwebservices.com.cn",
            (true, _) => "",
        };
        Some(Self { rest, documented: domain == expected, region })
    }

    /// Whether the host is one of those that AWS documents for the region, so that it is AWS's whatever
    /// anybody says.
    pub(super) fn is_documented(&self) -> bool {
        self.documented
    }

    /// Whether the host is AWS's: a documented one, or `proxy`, the one that ECR itself named, with
    /// another account.
    pub(super) fn is_genuine(&self, proxy: &str) -> bool {
        self.documented || EcrHost::parse(proxy).is_some_and(|proxy| proxy.rest == self.rest)
    }
}

/// Host and port of a URL such as `https://123456789012.dkr.ecr.eu-west-1.amazonaws.com`.
pub(super) fn authority(url: &str) -> &str {
    let behind = url.split_once("://").map_or(url, |(_, behind)| behind);
    behind.split(['/', '?', '#']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "111122223333.dkr.ecr.eu-west-1.amazonaws.com";

    #[test]
    fn hosts_that_aws_documents_are_genuine() {
        for (host, region) in [
            ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "eu-west-1"),
            ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
            ("123456789012.dkr-ecr.eu-west-1.on.aws", "eu-west-1"),
            ("123456789012.dkr-ecr-fips.us-east-1.on.aws", "us-east-1"),
            ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1"),
            ("123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn", "cn-north-1"),
        ] {
            let read = EcrHost::parse(host).unwrap();
            assert_eq!(read.region.as_str(), region);
            assert!(read.is_genuine(PROXY), "{host}");
        }
    }

    #[test]
    fn hosts_that_only_look_like_ecrs_are_not_genuine() {
        for host in [
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example",
            "123456789012.dkr.ecr.eu-west-1.evil.example",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com.cn",
            "123456789012.dkr.ecr.eu-west-1.on.aws",
            "123456789012.dkr-ecr.eu-west-1.amazonaws.com",
            "123456789012.dkr-ecr.us-gov-west-1.",
        ] {
            assert!(EcrHost::parse(host).is_none_or(|host| !host.is_genuine(PROXY)), "{host}");
        }
        for host in [
            "",
            "docker.io",
            "public.ecr.aws",
            "dkr.ecr.eu-west-1.amazonaws.com",
            "12345678901.dkr.ecr.eu-west-1.amazonaws.com",
            "a23456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "x.123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        ] {
            assert_eq!(EcrHost::parse(host), None, "{host}");
        }
    }

    #[test]
    fn a_domain_that_ecr_names_itself_is_genuine_for_every_account() {
        let proxy = "111122223333.dkr.ecr.xx-new-1.amazonaws.example";
        let other = EcrHost::parse("123456789012.dkr.ecr.xx-new-1.amazonaws.example").unwrap();
        assert!(other.is_genuine(proxy) && !other.is_genuine(PROXY));
    }

    #[test]
    fn the_authority_of_a_url_is_its_host_and_port() {
        assert_eq!(authority("https://host.example"), "host.example");
        assert_eq!(authority("http://localhost:4566/v2/?x#y"), "localhost:4566");
        assert_eq!(authority("host.example"), "host.example");
        assert_eq!(authority(""), "");
    }
}
