// What cuDNN asks of NVIDIA's driver while it makes a plan, on a machine without one: answers that let it go on.
// Nothing runs. Built as libcuda.so.1 and opened before cuDNN.

extern "C" {

constexpr int no_device = 100, not_available = 34, not_found = 500;

int cuInit(unsigned) { return no_device; }
int cuDriverGetVersion(int* version) { return *version = 13000, 0; }
int cuGetErrorString(int, const char** text) { return *text = "no driver", 0; }
int cuGetErrorName(int, const char** text) { return *text = "no driver", 0; }

// Code that cuDNN compiled is taken as loaded.
int cuLibraryLoadData(void** library, const void*, void*, void**, unsigned, void*, void**, unsigned) {
  static int loaded;
  return *library = &loaded, 0;
}
int cuLibraryUnload(void*) { return 0; }
int cuLibraryGetKernel(void** kernel, void*, const char*) {
  static int found;
  return *kernel = &found, 0;
}
int cuLibraryGetGlobal(void**, unsigned long*, void*, const char*) { return not_found; }
int cuKernelSetAttribute(int, int, void*, int) { return 0; }
int cuKernelGetAttribute(int* value, int, void*, int) { return *value = 0, 0; }

// Looked up when the library is opened, and never of use here.
#define GRADUS_NOT_HERE(name) \
  int name() { return not_available; }
GRADUS_NOT_HERE(cuCtxGetCurrent)
GRADUS_NOT_HERE(cuCtxGetLimit)
GRADUS_NOT_HERE(cuCtxPopCurrent)
GRADUS_NOT_HERE(cuCtxPushCurrent)
GRADUS_NOT_HERE(cuStreamGetCtx)
GRADUS_NOT_HERE(cuLinkCreate)
GRADUS_NOT_HERE(cuLinkAddData)
GRADUS_NOT_HERE(cuLinkComplete)
GRADUS_NOT_HERE(cuLinkDestroy)
GRADUS_NOT_HERE(cuLaunchKernel)
GRADUS_NOT_HERE(cuLaunchCooperativeKernel)
GRADUS_NOT_HERE(cuLaunchKernelEx)
GRADUS_NOT_HERE(cuDeviceGetCount)
GRADUS_NOT_HERE(cuDeviceGet)
GRADUS_NOT_HERE(cuLibraryLoadFromFile)
GRADUS_NOT_HERE(cuKernelGetFunction)
GRADUS_NOT_HERE(cuOccupancyMaxPotentialClusterSize)

}  // extern "C"
