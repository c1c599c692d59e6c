#include <algorithm>

#include "format/oci.h"

namespace naru::format {

namespace {

bool alnum_lower(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}
bool alnum(char c) {
  return alnum_lower(c) || (c >= 'A' && c <= 'Z');
}

// path-component: [a-z0-9]+ ((\.|_|__|-+) [a-z0-9]+)*
bool valid_component(std::string_view part) {
  if (part.empty() || !alnum_lower(part.front()) || !alnum_lower(part.back())) return false;
  for (std::size_t i = 0; i < part.size();) {
    if (alnum_lower(part[i])) {
      ++i;
      continue;
    }
    std::size_t end = i;
    while (end < part.size() && !alnum_lower(part[end])) ++end;
    const auto separator = part.substr(i, end - i);
    const bool dashes = separator.find_first_not_of('-') == std::string_view::npos;
    if (!dashes && separator != "." && separator != "_" && separator != "__") return false;
    i = end;
  }
  return true;
}

bool valid_repository(std::string_view repository) {
  while (true) {
    const auto slash = repository.find('/');
    if (!valid_component(repository.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    repository.remove_prefix(slash + 1);
  }
}

bool valid_port(std::string_view port) {
  return !port.empty() && port.size() <= 5 &&
         std::ranges::all_of(port, [](char c) { return c >= '0' && c <= '9'; });
}

bool valid_registry(std::string_view registry) {
  if (registry.starts_with('[')) {
    const auto close = registry.find(']');
    if (close == std::string_view::npos || close < 3) return false;
    const auto inside = registry.substr(1, close - 1);
    const auto rest = registry.substr(close + 1);
    return std::ranges::all_of(inside, [](char c) { return c == ':' || c == '.' || alnum(c); }) &&
           (rest.empty() || (rest.front() == ':' && valid_port(rest.substr(1))));
  }
  const auto colon = registry.find(':');
  if (colon != std::string_view::npos && !valid_port(registry.substr(colon + 1))) return false;
  auto host = registry.substr(0, colon);
  while (true) {
    const auto dot = host.find('.');
    const auto label = host.substr(0, dot);
    if (label.empty() || !alnum(label.front()) || !alnum(label.back())) return false;
    if (!std::ranges::all_of(label, [](char c) { return alnum(c) || c == '-'; })) return false;
    if (dot == std::string_view::npos) return true;
    host.remove_prefix(dot + 1);
  }
}

bool valid_tag(std::string_view tag) {
  if (tag.empty() || tag.size() > 128 || tag.front() == '.' || tag.front() == '-') return false;
  return std::ranges::all_of(tag, [](char c) { return alnum(c) || c == '_' || c == '.' || c == '-'; });
}

bool names_registry(std::string_view first) {
  return first == "localhost" || first.find_first_of(".:") != std::string_view::npos ||
         std::ranges::any_of(first, [](char c) { return c >= 'A' && c <= 'Z'; });
}

// What is quoted in an error must not be able to paint a terminal.
std::string quoted(std::string_view text) {
  std::string shown;
  for (const char c : text.substr(0, 200)) shown += c < ' ' || c == 0x7f ? '?' : c;
  return shown;
}

}  // namespace

Result<ImageReference> ImageReference::parse(std::string_view text) {
  const auto bad = [&](std::string_view why) {
    return fail(Code::malformed, "image reference '{}': {} (expected [registry/]name[:tag][@sha256:...])",
                quoted(text), why);
  };
  if (text.empty() || text.size() > 600) return bad(text.empty() ? "it is empty" : "longer than 600 bytes");
  ImageReference reference;
  std::string_view name = text;
  if (const auto at = name.find('@'); at != std::string_view::npos) {
    auto digest = Digest::parse(name.substr(at + 1));
    if (!digest) return bad("what follows '@' is not a digest");
    if (digest->algorithm() != "sha256") return bad("only sha256 digests are supported");
    reference.digest = *digest;
    name = name.substr(0, at);
  }
  const auto last_slash = name.rfind('/');
  const auto colon = name.find(':', last_slash == std::string_view::npos ? 0 : last_slash);
  if (colon != std::string_view::npos) {
    reference.tag = name.substr(colon + 1);
    name = name.substr(0, colon);
    if (!valid_tag(reference.tag)) return bad("the tag is not valid");
  } else if (reference.digest.empty()) {
    reference.tag = "latest";
  }
  const auto slash = name.find('/');
  const bool has_registry = slash != std::string_view::npos && names_registry(name.substr(0, slash));
  reference.registry = has_registry ? name.substr(0, slash) : "docker.io";
  if (reference.registry == "index.docker.io") reference.registry = "docker.io";
  reference.repository = has_registry ? name.substr(slash + 1) : name;
  if (reference.registry == "docker.io" && !reference.repository.contains('/'))
    reference.repository.insert(0, "library/");
  if (!valid_registry(reference.registry)) return bad("the registry is not a host name");
  if (!valid_repository(reference.repository))
    return bad("the name must be lower-case letters, digits and single separators . _ -");
  if (reference.registry.size() + reference.repository.size() > 255)
    return bad("the name is longer than 255 bytes");
  return reference;
}

std::string ImageReference::text() const {
  std::string text = registry + "/" + repository;
  if (!tag.empty()) text += ":" + tag;
  if (!digest.empty()) text += "@" + digest.text();
  return text;
}

std::string ImageReference::familiar() const {
  std::string short_text = text();
  for (const std::string_view prefix : {"docker.io/library/", "docker.io/"}) {
    if (!short_text.starts_with(prefix)) continue;
    std::string candidate = short_text.substr(prefix.size());
    // "docker.io/library/a/b" must not shrink to "a/b", which names another image.
    if (const auto again = parse(candidate); again && *again == *this) return candidate;
  }
  return short_text;
}

}  // namespace naru::format
