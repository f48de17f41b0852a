/** The composition of a control plane. */
export {
  createControlPlane,
  type ControlPlane,
  type ControlPlaneOptions,
} from "./control-plane.ts";
/** How calls fail. */
export { CONTROL_PLANE_ERRORS, ControlPlaneError, type ControlPlaneErrorCode } from "./errors.ts";
export { LIMITS } from "./limits.ts";
