// Credentials of the host that steps of a build are handed, so that they can fetch: in the URLs of its proxy
// variables and of its apt sources. They are given for the time of the step only: no image, key or record of
// the cache holds them, and in logs they are masked. (A step that writes its own environment into a file puts
// them into its layer all the same: whoever may push is trusted with what builds need.)
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace naru::control {

// Of every URL with "user:password@" in the text: what could show up in output. That part as written and
// decoded, the password alone, and the base64 of both as in an Authorization field.
std::vector<std::string> credentials_in(std::string_view text);

// Of the proxy variables and of what apt reads below `apt`, as far as everybody may read it: other files are
// not handed to builds either.
std::vector<std::string> host_credentials(const std::map<std::string, std::string>& proxy,
                                          const std::filesystem::path& apt = "/etc/apt");

}  // namespace naru::control
