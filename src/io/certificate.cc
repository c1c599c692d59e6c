#include "io/certificate.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <memory>

namespace naru::io {

namespace {

constexpr std::size_t kMaxChain = 10;

struct FreeBio {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
using Bio = std::unique_ptr<BIO, FreeBio>;

Bio bio_of(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// Never asks the terminal: a server that starts by itself has nobody to answer.
int no_passphrase(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

std::unexpected<Error> unusable(std::string context, std::string remedy) {
  return std::unexpected(Error{Code::tls_failure, std::move(context), 0, std::move(remedy)});
}

WallTime time_of(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return {};
  const auto day = std::chrono::sys_days(std::chrono::year(parts.tm_year + 1900) /
                                         std::chrono::month(static_cast<unsigned>(parts.tm_mon + 1)) /
                                         std::chrono::day(static_cast<unsigned>(parts.tm_mday)));
  return WallTime(day.time_since_epoch() + std::chrono::hours(parts.tm_hour) +
                  std::chrono::minutes(parts.tm_min) + std::chrono::seconds(parts.tm_sec));
}

std::string text_of(const ASN1_STRING* text) {
  return std::string(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                     static_cast<std::size_t>(ASN1_STRING_length(text)));
}

std::string address_of(const ASN1_OCTET_STRING* address) {
  char text[INET6_ADDRSTRLEN] = "";
  const int family = ASN1_STRING_length(address) == 4 ? AF_INET : AF_INET6;
  if (family == AF_INET6 && ASN1_STRING_length(address) != 16) return {};
  return ::inet_ntop(family, ASN1_STRING_get0_data(address), text, sizeof text) != nullptr ? text : "";
}

// Names go into URLs and onto terminals.
bool plain(std::string_view name) {
  return !name.empty() && name.size() <= 253 && std::ranges::all_of(name, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '.' || c == '_' || c == '*' || c == ':';
  });
}

Result<void> read_chain(KeyPair& pair, const ServerPem& pem) {
  const Bio bio = bio_of(pem.certificate);
  ERR_clear_error();
  while (X509* next = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    pair.chain.emplace_back(next);
    if (pair.chain.size() > kMaxChain)
      return unusable(
          fmt::format("{}: there are more than {} certificates in it", pem.certificate_file, kMaxChain),
          "give the server's certificate and what lies between it and its root, and no more");
  }
  const bool end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  const std::string why = openssl_error();
  if (!pair.chain.empty() && end) return {};
  return unusable(fmt::format("{}: {}", pem.certificate_file,
                              pair.chain.empty() && end ? "there is no certificate in it" : why),
                  "give the whole chain as PEM (-----BEGIN CERTIFICATE-----), the server's own certificate "
                  "first: what certbot calls fullchain.pem");
}

Result<void> read_key(KeyPair& pair, const ServerPem& pem) {
  const Bio bio = bio_of(pem.key);
  bool encrypted = false;
  ERR_clear_error();
  pair.key.reset(PEM_read_bio_PrivateKey(bio.get(), nullptr, &no_passphrase, &encrypted));
  const std::string why = openssl_error();
  if (pair.key) return {};
  if (encrypted)
    return unusable(
        fmt::format("{}: the key has a passphrase, which nobody can type when Naru starts by itself",
                    pem.key_file),
        fmt::format("take it off: openssl pkey -in {0} -out {0}.plain", pem.key_file));
  return unusable(fmt::format("{}: there is no private key that can be used in it ({})", pem.key_file, why),
                  "give the key as PEM (-----BEGIN PRIVATE KEY-----): what certbot calls privkey.pem");
}

}  // namespace

void FreeX509::operator()(x509_st* raw) const {
  X509_free(raw);
}
void FreeKey::operator()(evp_pkey_st* raw) const {
  EVP_PKEY_free(raw);
}

std::string openssl_error() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  if (code == 0) return "an unknown TLS error";
  const char* reason = ERR_reason_error_string(code);
  return reason != nullptr ? reason : "an unknown TLS error";
}

std::string CertificateInfo::first_name() const {
  for (const std::string& name : names)
    if (!name.contains('*')) return name.contains(':') ? "[" + name + "]" : name;
  return {};
}

Result<KeyPair> KeyPair::parse(const ServerPem& pem) {
  KeyPair pair;
  TRY(read_chain(pair, pem));
  TRY(read_key(pair, pem));
  X509* leaf = pair.chain.front().get();
  const bool matches = X509_check_private_key(leaf, pair.key.get()) == 1;
  ERR_clear_error();
  if (!matches)
    return unusable(
        fmt::format("the key in {} is not the one of the certificate in {}", pem.key_file,
                    pem.certificate_file),
        "give the two that were made together, the server's own certificate first in its file; "
        "`openssl x509 -noout -pubkey` and `openssl pkey -pubout` print the same for such a pair");
  pair.info = {names_of(leaf), time_of(X509_get0_notBefore(leaf)), time_of(X509_get0_notAfter(leaf))};
  return pair;
}

Result<void> check_named(const CertificateInfo& info, const ServerPem& pem) {
  if (info.names.empty())
    return unusable(
        fmt::format("{}: the certificate names no server (it has no subjectAltName)", pem.certificate_file),
        "have it made for the name by which people reach this machine: openssl req ... -addext "
        "subjectAltName=DNS:naru.example.org");
  return {};
}

Result<void> check_in_time(const CertificateInfo& info, const ServerPem& pem, WallTime now) {
  if (now > info.not_after)
    return unusable(
        fmt::format("{}: the certificate is over since {}", pem.certificate_file, to_rfc3339(info.not_after)),
        "renew it in its file: Naru takes the new one by itself");
  if (now < info.not_before)
    return unusable(fmt::format("{}: the certificate does not begin before {}", pem.certificate_file,
                                to_rfc3339(info.not_before)),
                    "look at this machine's clock: `timedatectl`");
  return {};
}

std::vector<std::string> names_of(const x509_st* certificate) {
  std::vector<std::string> names, addresses;
  auto* entries =
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(entries); ++i) {
    const GENERAL_NAME* entry = sk_GENERAL_NAME_value(entries, i);
    if (entry->type == GEN_DNS) names.push_back(text_of(entry->d.dNSName));
    if (entry->type == GEN_IPADD) addresses.push_back(address_of(entry->d.iPAddress));
  }
  GENERAL_NAMES_free(entries);
  names.insert(names.end(), addresses.begin(), addresses.end());
  std::erase_if(names, [](const std::string& name) { return !plain(name); });
  return names;
}

bool is_for(x509_st* certificate, const std::string& host) {
  in6_addr scratch{};
  const bool numeric =
      ::inet_pton(AF_INET, host.c_str(), &scratch) == 1 || ::inet_pton(AF_INET6, host.c_str(), &scratch) == 1;
  const int matched =
      numeric ? X509_check_ip_asc(certificate, host.c_str(), 0)
              : X509_check_host(certificate, host.data(), host.size(),
                                X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS,
                                nullptr);
  ERR_clear_error();
  return matched == 1;
}

}  // namespace naru::io
