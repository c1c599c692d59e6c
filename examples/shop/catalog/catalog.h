// What the shop sells, and its JSON.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace catalog {

struct Product {
  int id;
  std::string_view name;
  std::string_view note;
  int cents;
  std::string_view art;  // which drawing the front shows
  int hue;
};

inline constexpr std::array<Product, 12> kProducts{{
    {1, "Storm Lantern", "Brass and glass; burns through the night watch", 6400, "lantern", 38},
    {2, "Pocket Compass", "Points north, whatever the release", 3900, "compass", 205},
    {3, "Enamel Mug", "Chips with dignity", 1400, "mug", 8},
    {4, "Hemp Rope, 10 m", "Three strands, one purpose", 2200, "rope", 30},
    {5, "Harbour Tea", "Smoky, strong, forgiving", 1250, "leaf", 140},
    {6, "Wool Watch Cap", "Knitted in the round", 2900, "cap", 350},
    {7, "Signal Flag Set", "Says it without words", 4800, "flag", 220},
    {8, "Ferry Bell", "One ring: ready. Two rings: go back", 8900, "bell", 46},
    {9, "Tide Tables", "A year of highs and lows, stitched", 1800, "book", 180},
    {10, "Wooden Oar", "Ash, oiled, balanced", 7200, "oar", 22},
    {11, "Sea Salt", "Raked by hand at low tide", 950, "salt", 195},
    {12, "Paper Boat Kit", "Folds flat, sails far", 1100, "boat", 265},
}};

inline std::string quote(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += "\\u00";
      out += kHex[(c >> 4) & 15];
      out += kHex[c & 15];
    } else {
      out += c;
    }
  }
  return out + '"';
}

inline std::string to_json(const Product& p) {
  return "{\"id\":" + std::to_string(p.id) + ",\"name\":" + quote(p.name) + ",\"note\":" + quote(p.note) +
         ",\"cents\":" + std::to_string(p.cents) + ",\"art\":" + quote(p.art) + ",\"hue\":" + std::to_string(p.hue) + "}";
}

inline std::string all_json() {
  std::string out = "[";
  for (const Product& p : kProducts) out += (out.size() > 1 ? "," : "") + to_json(p);
  return out + "]";
}

inline std::optional<Product> find(std::string_view id) {
  if (id.empty() || id.size() > 4) return std::nullopt;
  int number = 0;
  for (const char c : id) {
    if (c < '0' || c > '9') return std::nullopt;
    number = number * 10 + (c - '0');
  }
  for (const Product& p : kProducts)
    if (p.id == number) return p;
  return std::nullopt;
}

}  // namespace catalog
