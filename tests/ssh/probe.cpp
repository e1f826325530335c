// ssh-probe [--user=U] [--alias=NAME] [--known=FILE] [--ssh=libssh|openssh] [--accept-new] HOST COMMAND: runs a
// POSIX shell's command on HOST as the library would. Prints what carried it, and exits as the command did; an
// error is printed with its code, and the exit status is 255.
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

#include "crossover/error.hpp"
#include "ssh/ssh_route.hpp"
#include "ssh/ssh_shell.hpp"

namespace {

using namespace crossover;

std::string contents(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

int probe(int count, char** words) {
  SshHost host;
  host.user = "";
  int at = 1;
  for (; at < count && std::string_view(words[at]).starts_with("--"); ++at) {
    const std::string word = words[at];
    const std::string value = word.substr(std::min(word.find('='), word.size() - 1) + 1);
    if (word.starts_with("--user=")) host.user = value;
    if (word.starts_with("--alias=")) host.host_key_alias = value;
    if (word.starts_with("--known=")) host.known_hosts_text = contents(value);
    if (word == "--ssh=libssh") host.transport = SshTransport::libssh;
    if (word == "--ssh=openssh") host.transport = SshTransport::openssh;
    if (word == "--accept-new") host.accept_new_host_keys = true;
  }
  if (count - at != 2) return 2;
  host.name = words[at];
  try {
    SshShell shell(host, [](const SshRoute& route) {
      std::printf("by %s: %s\n", route.openssh ? "openssh" : "libssh", route.why.c_str());
    });
    const CommandResult result = shell.run({"sh", "-c", words[at + 1]}, "", std::chrono::seconds(60), {});
    std::printf("%s", result.output.c_str());
    std::fprintf(stderr, "%s", result.errors.c_str());
    return result.exit_status;
  } catch (const Error& error) {
    std::printf("error %s: %s\n", std::string(to_string(error.code())).c_str(), error.what());
    return 255;
  }
}

}  // namespace

int main(int count, char** words) {
  return probe(count, words);
}
