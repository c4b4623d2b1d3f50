/* SPDX-License-Identifier: MIT
 * stub_refused.h - the calls of OpenCL 1.2 that the stub driver does not have, but for those that 1.2 deprecates, which
 * the library would not compile with. X(call) */
#ifndef STUB_REFUSED_H
#define STUB_REFUSED_H

#define REFUSED(X) \
    X(clCreateSubDevices) \
    X(clCreateContextFromType) \
    X(clRetainCommandQueue) \
    X(clCreateSubBuffer) \
    X(clCreateImage) \
    X(clRetainMemObject) \
    X(clGetSupportedImageFormats) \
    X(clGetImageInfo) \
    X(clSetMemObjectDestructorCallback) \
    X(clCreateSampler) \
    X(clRetainSampler) \
    X(clReleaseSampler) \
    X(clGetSamplerInfo) \
    X(clCreateProgramWithBuiltInKernels) \
    X(clCompileProgram) \
    X(clLinkProgram) \
    X(clUnloadPlatformCompiler) \
    X(clCreateKernelsInProgram) \
    X(clRetainKernel) \
    X(clGetKernelInfo) \
    X(clGetKernelArgInfo) \
    X(clGetKernelWorkGroupInfo) \
    X(clWaitForEvents) \
    X(clGetEventInfo) \
    X(clCreateUserEvent) \
    X(clRetainEvent) \
    X(clSetUserEventStatus) \
    X(clSetEventCallback) \
    X(clGetEventProfilingInfo) \
    X(clFlush) \
    X(clEnqueueReadBufferRect) \
    X(clEnqueueWriteBufferRect) \
    X(clEnqueueFillBuffer) \
    X(clEnqueueCopyBuffer) \
    X(clEnqueueCopyBufferRect) \
    X(clEnqueueReadImage) \
    X(clEnqueueWriteImage) \
    X(clEnqueueFillImage) \
    X(clEnqueueCopyImage) \
    X(clEnqueueCopyImageToBuffer) \
    X(clEnqueueCopyBufferToImage) \
    X(clEnqueueMapBuffer) \
    X(clEnqueueMapImage) \
    X(clEnqueueUnmapMemObject) \
    X(clEnqueueMigrateMemObjects) \
    X(clEnqueueTask) \
    X(clEnqueueNativeKernel) \
    X(clEnqueueMarkerWithWaitList) \
    X(clEnqueueBarrierWithWaitList)

#endif
