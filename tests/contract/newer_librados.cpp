// Loaded before librados: takes the option auth_supported away from it, as in Ceph 20.2.4.
#include <dlfcn.h>

#include <cerrno>
#include <cstring>

extern "C" int rados_conf_set(void* cluster, const char* option, const char* value) {
  using Function = int (*)(void*, const char*, const char*);
  // Not RTLD_NEXT: Python loads librados where that does not look.
  static const auto real = reinterpret_cast<Function>(dlsym(dlopen("librados.so.2", RTLD_LAZY), "rados_conf_set"));
  return std::strcmp(option, "auth_supported") == 0 ? -ENOENT : real(cluster, option, value);
}
