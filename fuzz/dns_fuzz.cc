// DNS messages from containers and from resolvers.
#include "format/dns.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (auto query = naru::format::parse_dns_query(bytes)) {
    const std::uint32_t address = 1;
    const std::string answer = naru::format::dns_addresses(*query, {&address, 1}, 1);
    if (!naru::format::parse_dns_answer(answer)) __builtin_trap();  // what we write, we read
  }
  (void)naru::format::parse_dns_answer(bytes);
  (void)naru::format::dns_error_for(bytes, naru::format::DnsCode::format_error);
  (void)naru::format::parse_nameservers(bytes);
  return 0;
}
