# naru_console(target): builds console/ with npm and embeds it into the target as control/console_assets.h declares. Without npm,
# or with -DNARU_CONSOLE=OFF, the target gets an empty console and says so at its first page.
option(NARU_CONSOLE "build the web console (needs npm)" ON)
find_program(NPM npm)

function(naru_console target)
  set(generated ${CMAKE_BINARY_DIR}/console/console_assets.cc)
  if(NARU_CONSOLE AND NPM)
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/console/src/* ${CMAKE_SOURCE_DIR}/console/public/*)
    list(APPEND sources ${CMAKE_SOURCE_DIR}/scripts/console)
    foreach(file package.json package-lock.json .npmrc index.html vite.config.ts svelte.config.js tsconfig.json embed.mjs)
      list(APPEND sources ${CMAKE_SOURCE_DIR}/console/${file})
    endforeach()
    add_custom_command(
      OUTPUT ${generated}
      COMMAND ${CMAKE_SOURCE_DIR}/scripts/console build ${CMAKE_BINARY_DIR}/console
      DEPENDS ${sources}
      COMMENT "Building the web console"
      VERBATIM)
  else()
    message(STATUS "The web console is not built: npm was not found, or NARU_CONSOLE is off")
    file(CONFIGURE OUTPUT ${generated} CONTENT "#include \"control/console_assets.h\"\n\nnamespace naru::control {\nstd::span<const ConsoleAsset> console_assets() { return {}; }\n}\n")
  endif()
  target_sources(${target} PRIVATE ${generated})
endfunction()
