#include <cstdio>
#include <set>

#include "catalog.h"
#include "http.h"

static int failures = 0;
static void expect(bool good, const char* what) {
  std::printf("%s %s\n", good ? "ok  " : "FAIL", what);
  failures += good ? 0 : 1;
}

int main() {
  std::set<int> ids;
  for (const auto& p : catalog::kProducts) ids.insert(p.id), expect(p.cents > 0, "a product has a price");
  expect(ids.size() == catalog::kProducts.size(), "no two products share an id");
  expect(catalog::find("3") && catalog::find("3")->name == "Enamel Mug", "finds a product by its id");
  expect(!catalog::find("") && !catalog::find("99") && !catalog::find("1x") && !catalog::find("999999999999"), "finds nothing for garbage");
  expect(catalog::quote("a\"b\\\n") == "\"a\\\"b\\\\\\u000a\"", "quotes JSON text");
  expect(catalog::all_json().front() == '[' && catalog::all_json().back() == ']', "lists all as an array");
  const auto request = http::parse_head("GET /products?x=1 HTTP/1.1\r\nHost: a\r\n");
  expect(request && request->method == "GET" && request->path == "/products" && request->keep_alive, "reads a request");
  expect(!http::parse_head("GET / HTTP/1.0\r\n")->keep_alive, "closes after an old request");
  expect(!http::parse_head("GET / HTTP/1.1\r\nConnection: close\r\n")->keep_alive, "closes when asked to");
  expect(!http::parse_head("") && !http::parse_head("GET /") && !http::parse_head("\x16\x03\x01 x y") && !http::parse_head("GET x HTTP/1.1\r\n"), "refuses what is no request");
  return failures == 0 ? 0 : 1;
}
