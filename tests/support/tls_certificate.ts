/**
 * An untrusted certificate for localhost, and its key, for the servers of tests:
 * openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 -subj /CN=localhost
 */
export const tlsCertificate = {
  cert: `-----BEGIN CERTIFICATE-----
MIIBfzCCASWgAwIBAgIUIvaPywPhPTW+fEK7M49c6FljEmUwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMzIzNDgwOVoYDzIxMjYxMDMw
MjM0ODA5WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAT3qyaGhJWXscSLM1e6JFEUeCZXMx2yFmCGR3C1pQFCKwKZiFfuh/bn
yP5Wo74BTeRZZ+1d9s+qmpoz8vFGn0lLo1MwUTAdBgNVHQ4EFgQU5glb1XBQaKvC
1eUzAIp2uY4r0hgwHwYDVR0jBBgwFoAU5glb1XBQaKvC1eUzAIp2uY4r0hgwDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiB+tnwgXiNdxxvmXzR7XvYE
/blBUBR9KQiuHpBv3OFwkQIhAMqh6DZRrA6paBmSRIL69FXoPYHg6vwYgCXX0xjb
DV3x
-----END CERTIFICATE-----
`,
  key: `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgvt11pQH6YS2/dW7E
S++Ct+KLJMswc7cDtfCDxdjHwzqhRANCAAT3qyaGhJWXscSLM1e6JFEUeCZXMx2y
FmCGR3C1pQFCKwKZiFfuh/bnyP5Wo74BTeRZZ+1d9s+qmpoz8vFGn0lL
-----END PRIVATE KEY-----
`,
};
