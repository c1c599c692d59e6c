// The web console's files.
#include "control/api.h"
#include "control/console_assets.h"
#include "control/login_page.h"

namespace naru::control {

namespace {

constexpr std::string_view kNotBuilt =
    "<!doctype html><meta charset=utf-8><title>Naru</title><body "
    "style=\"font-family:sans-serif;max-width:40em;margin:4em auto\">"
    "<h1>Naru</h1><p>The web console was not built into this program. Everything can be done with "
    "<code>naru</code> on the "
    "command line and over the API.</p></body>\n";

const ConsoleAsset* find_asset(std::string_view path) {
  for (const ConsoleAsset& asset : console_assets())
    if (asset.path == path) return &asset;
  return nullptr;
}

void protect(io::ResponseWriter& response) {
  response.header("Content-Security-Policy",
                  "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; object-src "
                  "'none'; base-uri 'none'; frame-ancestors 'none'");
  response.header("X-Frame-Options", "DENY").header("Referrer-Policy", "no-referrer");
}

Answer serve(Call& call) {
  const std::string& path = call.request.path();
  const ConsoleAsset* asset = find_asset(path);
  // The console shows its pages by itself: whatever is not a file is its first page.
  const bool page = path.find('.') == std::string::npos;
  if (asset == nullptr && page) asset = find_asset("/index.html");
  if (asset == nullptr && page)
    co_return co_await call.response.send(200, kNotBuilt, "text/html; charset=utf-8");
  if (asset == nullptr) co_return fail(Code::not_found, "there is no {}", path.substr(0, 200));
  call.response.header("Cache-Control",
                       asset->immutable ? "private, max-age=31536000, immutable" : "no-cache");
  protect(call.response);
  co_return co_await call.response.send(200, asset->bytes, asset->content_type);
}

// The login page has its style in itself, and no script.
constexpr std::string_view kNoSession =
    "<!doctype html><meta charset=utf-8><title>Naru</title><body "
    "style=\"font-family:sans-serif;max-width:40em;margin:4em auto\">"
    "<h1>Naru</h1><p>You are not logged in, or the link was used already. Say <code>naru open</code> on the "
    "machine where Naru "
    "runs, and open the link that it prints.</p></body>\n";

constexpr Route kRoutes[] = {
    {"GET", "/", Access::admin, serve},
    {"GET", "/assets/{*}", Access::admin, serve},
    {"GET", "/apps/{*}", Access::admin, serve},
    {"GET", "/favicon.svg", Access::admin, serve},
};

}  // namespace

std::span<const Route> console_routes() {
  return kRoutes;
}

bool wants_login_page(const io::Request& request) {
  if (request.method() != "GET") return false;
  const std::string& path = request.path();
  const bool page =
      path == "/" || path == "/login" || (path.starts_with("/apps/") && path.find('.') == std::string::npos);
  const auto accept = request.header("accept");
  return page && accept && accept->find("text/html") != std::string_view::npos;
}

Answer send_login_page(io::ResponseWriter& response) {
  const ConsoleAsset* page = find_asset("/login.html");
  response.header("Cache-Control", "no-store");
  protect(response);
  co_return co_await response.send(401, page == nullptr ? kNoSession : page->bytes,
                                   "text/html; charset=utf-8");
}

}  // namespace naru::control
