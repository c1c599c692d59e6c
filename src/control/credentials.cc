#include "control/credentials.h"

#include "format/http1.h"
#include "io/base64.h"
#include "os/file.h"

namespace naru::control {

namespace fs = std::filesystem;

namespace {
constexpr std::size_t kMaxFile = 1 << 20, kMaxFiles = 256;

void add(std::vector<std::string>& found, std::string text) {
  if (!text.empty() && std::ranges::find(found, text) == found.end()) found.push_back(std::move(text));
}

void add_credentials(std::vector<std::string>& found, std::string_view user_info) {
  const auto colon = user_info.find(':');
  const std::string decoded = format::http1::percent_decode(user_info).value_or(std::string(user_info));
  add(found, std::string(user_info));
  add(found, decoded);
  add(found, io::base64(decoded));
  if (colon == user_info.npos) return;
  const std::string_view password = user_info.substr(colon + 1);
  add(found, std::string(password));
  add(found, format::http1::percent_decode(password).value_or(std::string(password)));
}
}  // namespace

std::vector<std::string> credentials_in(std::string_view text) {
  std::vector<std::string> found;
  for (auto at = text.find("://"); at != text.npos; at = text.find("://", at)) {
    at += 3;
    const std::string_view authority = text.substr(at, text.find_first_of("/ \t\r\n\"'?#;,", at) - at);
    if (const auto end = authority.rfind('@'); end != authority.npos && end > 0)
      add_credentials(found, authority.substr(0, end));
  }
  // The longest first, so that masking a part leaves nothing of the whole.
  std::ranges::stable_sort(found, std::ranges::greater{}, &std::string::size);
  return found;
}

std::vector<std::string> host_credentials(const std::map<std::string, std::string>& proxy,
                                          const fs::path& apt) {
  std::string all;
  for (const auto& [name, value] : proxy)
    all += (value.find("://") == value.npos ? "http://" + value : value) + "\n";
  std::vector<fs::path> files{apt / "sources.list", apt / "apt.conf"};
  std::error_code error;
  for (const char* folder : {"sources.list.d", "apt.conf.d"})
    for (const auto& entry : fs::directory_iterator(apt / folder, error))
      if (files.size() < kMaxFiles) files.push_back(entry.path());
  for (const fs::path& file : files)
    if (const auto text = os::read_file(file, kMaxFile)) all += *text + "\n";
  return credentials_in(all);
}

}  // namespace naru::control
