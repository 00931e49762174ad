//! Credentials for whatever is ECR's.

use aws_credential_types::provider::error::CredentialsError as AwsError;
use aws_credential_types::provider::future::ProvideCredentials as Answered;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use serde_json::json;
use soci_aws::AwsCredentialProvider;
use soci_registry::{CredentialProvider, Credentials, CredentialsError};

use crate::fake::{Answer, Fake};

/// "AWS:private" and "AWS:public".
const PRIVATE: &str = "QVdTOnByaXZhdGU=";
const PUBLIC: &str = "QVdTOnB1YmxpYw==";

/// ECR, which gives a list of tokens. That of ECR Public is an object.
fn tokens() -> Fake {
    Fake::new(|operation, _| {
        assert_eq!(operation, "GetAuthorizationToken");
        Answer::Ok(json!({"authorizationData":
            [{"authorizationToken": PRIVATE, "expiresAt": 4_000_000_000_u32}]}))
    })
}

async fn user(provider: &AwsCredentialProvider, registry: &str) -> Option<String> {
    match provider.credentials(registry, "team/app").await.unwrap().credentials {
        Credentials::Basic { username, password } if username == "AWS" => {
            Some(password.expose().to_owned())
        }
        Credentials::Anonymous => None,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_private_registry_is_asked_for_where_its_name_says() {
    let fake = tokens();
    let provider = AwsCredentialProvider::with_config(fake.config());
    for registry in [
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        "123456789012.dkr.ecr.us-east-2.amazonaws.com",
        "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
        "123456789012.dkr-ecr.ap-south-1.on.aws",
        "123456789012.dkr-ecr-fips.us-west-2.on.aws",
        "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
        "123456789012.dkr-ecr.cn-northwest-1.on.amazonwebservices.com.cn",
        "123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu",
        "123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov",
        // Another account and another form of a region that was asked already.
        "999999999999.dkr.ecr.eu-west-1.amazonaws.com",
        "123456789012.dkr-ecr.us-east-2.on.aws",
    ] {
        assert_eq!(user(&provider, registry).await.as_deref(), Some("private"), "{registry}");
    }
    assert_eq!(
        fake.hosts(),
        [
            "api.ecr.eu-west-1.amazonaws.com",
            "api.ecr.us-east-2.amazonaws.com",
            "api.ecr.us-gov-west-1.amazonaws.com",
            "api.ecr.ap-south-1.amazonaws.com",
            "api.ecr.us-west-2.amazonaws.com",
            "api.ecr.cn-north-1.amazonaws.com.cn",
            "api.ecr.cn-northwest-1.amazonaws.com.cn",
            "api.ecr.eusc-de-east-1.amazonaws.eu",
            "api.ecr.us-iso-east-1.c2s.ic.gov",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn aws_hears_nothing_of_other_registries() {
    let fake = tokens();
    let provider = AwsCredentialProvider::with_config(fake.config());
    for registry in [
        "docker.io",
        "ghcr.io",
        "localhost:5000",
        "public.ecr.aws.evil.example",
        "gallery.ecr.aws",
        "public.ecr.aws:443",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com:443",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example",
        "123456789012.dkr.ecr.eu-west-1.evil.example",
        "123456789012.dkr.ecr.cn-north-1.amazonaws.com",
        "12345678901.dkr.ecr.eu-west-1.amazonaws.com",
        "api.ecr.eu-west-1.amazonaws.com",
    ] {
        assert_eq!(user(&provider, registry).await, None, "{registry}");
        let after = provider.credentials_after(registry, "app", &Credentials::Anonymous).await;
        assert_eq!(after.unwrap().credentials, Credentials::Anonymous);
    }
    assert!(fake.hosts().is_empty());
}

#[tokio::test(start_paused = true)]
async fn ecr_public_is_asked_in_its_region_under_both_of_its_names() {
    let fake = Fake::new(|_, _| {
        Answer::Ok(json!({"authorizationData":
            {"authorizationToken": PUBLIC, "expiresAt": 4_000_000_000_u32}}))
    });
    let provider = AwsCredentialProvider::with_config(fake.config());
    for registry in ["public.ecr.aws", "ecr-public.aws.com"] {
        assert_eq!(user(&provider, registry).await.as_deref(), Some("public"), "{registry}");
    }
    assert_eq!(fake.hosts(), ["api.ecr-public.us-east-1.amazonaws.com"]);
}

#[tokio::test(start_paused = true)]
async fn ecr_public_can_be_read_whatever_aws_says() {
    for fake in [
        Fake::refusing(400, "AccessDeniedException"),
        Fake::refusing(503, "ServiceUnavailable"),
        Fake::new(|_, _| Answer::Unreachable),
        Fake::new(|_, _| Answer::Ok(json!({}))),
    ] {
        let provider = AwsCredentialProvider::with_config(fake.config());
        assert_eq!(user(&provider, "public.ecr.aws").await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_private_registry_without_credentials_is_an_error_in_one_sentence() {
    let fake = tokens();
    let config = fake.config().to_builder();
    let config = config.credentials_provider(without_credentials()).build();
    let provider = AwsCredentialProvider::with_config(config);
    let host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
    let error = provider.credentials(host, "app").await.unwrap_err();
    assert!(matches!(error, CredentialsError::Provider { transient: false, .. }));
    let said = soci_text::error_chain(&error);
    for part in [host, "no AWS credentials were found", "AWS_PROFILE"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!said.contains("Attempted") && said.len() < 400, "{said}");
    // It is asked again without, as it can be read that way.
    assert_eq!(user(&provider, "public.ecr.aws").await, None);
    assert!(fake.hosts().is_empty());
}

/// What the SDK's chain is where nothing is configured.
fn without_credentials() -> SharedCredentialsProvider {
    #[derive(Debug)]
    struct Nobody;

    impl ProvideCredentials for Nobody {
        fn provide_credentials<'a>(&'a self) -> Answered<'a>
        where
            Self: 'a,
        {
            let attempts = "no credentials found in chain. Attempted:\n  Environment: no";
            Answered::ready(Err(AwsError::not_loaded(attempts)))
        }
    }

    SharedCredentialsProvider::new(Nobody)
}
